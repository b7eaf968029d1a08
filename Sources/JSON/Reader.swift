import Plumbing

extension JSON {
    /// Deeper nesting than this is refused: no record of ours has more than four levels.
    public static let maximumDepth = 32

    /// More values than this are refused: the reader's memory stays bounded, whatever a text of 1 MiB is made of.
    public static let maximumValues = 1 << 14

    /// Reads one JSON text (RFC 8259) that fills `bytes`, but for white space around it.
    ///
    /// - Parameter place: what messages call the text.
    /// - Throws: `badData`, naming the byte offset: no JSON, not UTF-8, a member that is there twice, nesting
    ///   beyond `maximumDepth`, more than `maximumValues`.
    public init(parsing bytes: [UInt8], at place: String) throws {
        var reader = Reader(bytes: bytes, place: place)
        self = try reader.text()
    }
}

private struct Reader {
    let bytes: [UInt8]
    let place: String
    var offset = 0
    var values = 0

    init(bytes: [UInt8], place: String) {
        self.bytes = bytes
        self.place = place
    }

    mutating func text() throws -> JSON {
        guard String(validating: bytes, as: UTF8.self) != nil else { throw broken("not UTF-8") }
        skipSpace()
        let value = try value(depth: 1)
        skipSpace()
        guard offset == bytes.count else { throw broken("extra data after the value") }
        return value
    }

    private mutating func value(depth: Int) throws -> JSON {
        guard depth <= JSON.maximumDepth else {
            throw broken("nested deeper than \(JSON.maximumDepth) levels")
        }
        values += 1
        guard values <= JSON.maximumValues else {
            throw broken("more than \(JSON.maximumValues) values")
        }
        switch peek {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case UInt8(ascii: "-"): return try number()
        case .some(UInt8(ascii: "0")...UInt8(ascii: "9")): return try number()
        case nil: throw broken("unexpected end")
        default: throw broken("unexpected character")
        }
    }

    private mutating func object(depth: Int) throws -> JSON {
        var members: [JSON.Member] = []
        // By bytes: two names that merely look alike are two names.
        var names: Set<[UInt8]> = []
        offset += 1
        skipSpace()
        if take("}") { return .object([]) }
        while true {
            skipSpace()
            guard peek == UInt8(ascii: "\"") else { throw broken("missing member name") }
            let start = offset
            let name = try string()
            guard names.insert(Array(name.utf8)).inserted else {
                offset = start
                throw broken("duplicate member \(JSON.string(String(name.prefix(64))))")
            }
            skipSpace()
            guard take(":") else { throw broken("missing colon") }
            skipSpace()
            members.append(.init(name, try value(depth: depth + 1)))
            skipSpace()
            if take("}") { return .object(members) }
            guard take(",") else { throw broken("missing comma or closing brace") }
        }
    }

    private mutating func array(depth: Int) throws -> JSON {
        var elements: [JSON] = []
        offset += 1
        skipSpace()
        if take("]") { return .array([]) }
        while true {
            skipSpace()
            elements.append(try value(depth: depth + 1))
            skipSpace()
            if take("]") { return .array(elements) }
            guard take(",") else { throw broken("missing comma or closing bracket") }
        }
    }

    private mutating func number() throws -> JSON {
        let start = offset
        _ = take("-")
        let whole = digits()
        guard whole > 0, whole == 1 || bytes[offset - whole] != UInt8(ascii: "0") else {
            throw broken("invalid number")
        }
        var isWhole = true
        if take(".") {
            isWhole = false
            guard digits() > 0 else { throw broken("no digit after the decimal point") }
        }
        if take("e") || take("E") {
            isWhole = false
            _ = take("+") || take("-")
            guard digits() > 0 else { throw broken("no digit in the exponent") }
        }
        let text = String(decoding: bytes[start..<offset], as: UTF8.self)
        // -0 stays as it was written: no whole number has that spelling.
        if isWhole, text != "-0", let value = Int64(text) { return .integer(value) }
        return .number(text)
    }

    private mutating func digits() -> Int {
        let start = offset
        while let byte = peek, UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte { offset += 1 }
        return offset - start
    }

    private mutating func string() throws -> String {
        offset += 1
        var utf8: [UInt8] = []
        while let byte = peek {
            offset += 1
            switch byte {
            case UInt8(ascii: "\""): return String(decoding: utf8, as: UTF8.self)
            case UInt8(ascii: "\\"): utf8.append(contentsOf: String(Character(try escape())).utf8)
            case 0..<0x20: throw broken("control character in a string")
            default: utf8.append(byte)
            }
        }
        throw broken("unterminated string")
    }

    private mutating func escape() throws -> Unicode.Scalar {
        guard let byte = peek else { throw broken("unterminated string") }
        offset += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(byte)
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{c}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"): break
        default: throw broken("invalid escape")
        }
        var code = try hex()
        if 0xd800..<0xdc00 ~= code, take("\\"), take("u") {
            let low = try hex()
            guard 0xdc00..<0xe000 ~= low else { throw broken("unpaired surrogate") }
            code = 0x10000 + (code - 0xd800) << 10 + (low - 0xdc00)
        }
        guard let scalar = Unicode.Scalar(code) else { throw broken("unpaired surrogate") }
        return scalar
    }

    private mutating func hex() throws -> UInt32 {
        var code: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = peek, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw broken("missing four hexadecimal digits")
            }
            code = code << 4 | UInt32(digit)
            offset += 1
        }
        return code
    }

    private mutating func word(_ word: String, _ value: JSON) throws -> JSON {
        guard bytes[offset...].starts(with: word.utf8) else {
            throw broken("unexpected character")
        }
        offset += word.utf8.count
        return value
    }

    private var peek: UInt8? { offset < bytes.count ? bytes[offset] : nil }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard peek == UInt8(ascii: character) else { return false }
        offset += 1
        return true
    }

    private mutating func skipSpace() {
        while let byte = peek, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { offset += 1 }
    }

    private func broken(_ what: String) -> Failure {
        Failure(.badData, "invalid JSON: \(what)", at: "\(place), byte \(offset)")
    }
}
