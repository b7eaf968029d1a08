import Plumbing

/// A JSON value (RFC 8259) as escapepod's records need it: members keep their order, numbers are whole.
///
/// The standard library's coders neither keep the order of members nor see one that is there twice; a document
/// that two readers may understand differently is not one to restore from.
public enum JSON: Equatable, Sendable {
    case null
    case bool(Bool)
    case integer(Int64)
    /// A number with a fraction or an exponent, -0, or one beyond 64 bits, as it was written.
    case number(String)
    case string(String)
    case array([JSON])
    case object([Member])

    public struct Member: Equatable, Sendable {
        public let name: String
        public let value: JSON

        public init(_ name: String, _ value: JSON) {
            self.name = name
            self.value = value
        }
    }

    /// The member of that name; nil where there is none, or where this is no object.
    public subscript(name: String) -> JSON? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.name.utf8.elementsEqual(name.utf8) }?.value
    }

    /// Equal where the texts are, byte for byte: Swift's strings take two spellings of an accented letter for one.
    public static func == (one: JSON, other: JSON) -> Bool { one.line == other.line }
}

extension JSON: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
    ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    public init(stringLiteral value: String) { self = .string(value) }
    public init(integerLiteral value: Int64) { self = .integer(value) }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(arrayLiteral elements: JSON...) { self = .array(elements) }
    public init(dictionaryLiteral elements: (String, JSON)...) {
        self = .object(elements.map { Member($0.0, $0.1) })
    }
}

// MARK: - Writing

extension JSON: CustomStringConvertible {
    /// The value on one line, without spaces.
    public var description: String {
        var text = ""
        write(to: &text)
        return text
    }

    /// The line that a tool puts on standard output or into a file: the value and a newline, in UTF-8.
    public var line: [UInt8] { Array("\(self)\n".utf8) }

    private func write(to text: inout String) {
        switch self {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .integer(let value): text += String(value)
        case .number(let digits): text += digits
        case .string(let value): JSON.quote(value, to: &text)
        case .array(let elements):
            text += "["
            for (index, element) in elements.enumerated() {
                if index > 0 { text += "," }
                element.write(to: &text)
            }
            text += "]"
        case .object(let members):
            text += "{"
            for (index, member) in members.enumerated() {
                if index > 0 { text += "," }
                JSON.quote(member.name, to: &text)
                text += ":"
                member.value.write(to: &text)
            }
            text += "}"
        }
    }

    private static func quote(_ value: String, to text: inout String) {
        text += "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            default:
                if scalar.isPrintable {
                    text.unicodeScalars.append(scalar)
                } else {
                    // A document that is shown must not steer a terminal.
                    for unit in String(scalar).utf16 { text += "\\u" + unit.padded(to: 4, radix: 16) }
                }
            }
        }
        text += "\""
    }
}
