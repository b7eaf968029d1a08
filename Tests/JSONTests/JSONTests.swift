import JSON
import Plumbing
import Testing

private func parse(_ text: String) throws -> JSON { try JSON(parsing: Array(text.utf8), at: "test") }

/// What the reader says of a text that it refuses; nil where it takes it.
private func refusal(_ bytes: [UInt8]) -> String? {
    do {
        _ = try JSON(parsing: bytes, at: "test")
        return nil
    } catch {
        guard let failure = error as? Failure, failure.status == .badData else {
            return "wrong error: \(error)"
        }
        return "\(failure.what): \(failure.place ?? "")"
    }
}

private func refusal(_ text: String) -> String? { refusal(Array(text.utf8)) }

private let sample =
    #"{"a":[1,-2,{"b":null}],"é😀":"\"\\/\u00e9\ud83d\ude00\n","t":true,"f":false,"n":-1.5e+10,"o":{},"l":[]}"#

@Suite struct Reading {
    @Test func values() throws {
        #expect(try parse(" \t\r\n[ true , false , null , \"x\" , 7 ] \n") == [true, false, .null, "x", 7])
        #expect(try parse("{}") == .object([]))
        let value = try parse(sample)
        #expect(value["a"] == [1, -2, ["b": .null]])
        #expect(value["é😀"] == .string("\"\\/é😀\n"))
        #expect(value["absent"] == nil)
        #expect(JSON.integer(1)["a"] == nil)
    }

    @Test(arguments: [
        ("0", JSON.integer(0)), ("-1", .integer(-1)),
        ("9223372036854775807", .integer(.max)), ("-9223372036854775808", .integer(.min)),
        ("9223372036854775808", .number("9223372036854775808")), ("1e400", .number("1e400")),
        ("-0", .number("-0")), ("1.0", .number("1.0")), ("2E-3", .number("2E-3")),
    ])
    func numbers(text: String, value: JSON) throws {
        #expect(try parse(text) == value)
        #expect(try parse(text).description == text)
    }

    @Test func hugeNumberIsKept() throws {
        let digits = String(repeating: "9", count: 100_000)
        #expect(try parse(digits) == .number(digits))
    }

    @Test(arguments: [
        "", " ", "01", "-", "+1", ".5", "1.", "1e", "1e+", "- 1", "0x1", "NaN", "Infinity", "tru", "True",
        "nul",
        "[1,]", "[,1]", "[1 2]", "[1", "[", "]", "{\"a\":1,}", "{,}", "{a:1}", "{\"a\" 1}", "{\"a\":}",
        "{\"a\"",
        "{1:2}", "\"", "\"\\", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "'a'", "1 2", "{} {}", "\u{feff}{}",
        "// x\n1",
        "\"\u{1}\"", "\"a\nb\"", "\"\t\"", "\u{a0}1", "\"\\uff11\"extra",
    ])
    func malformed(text: String) {
        #expect(refusal(text)?.hasPrefix("invalid JSON: ") == true)
    }

    @Test func everyTruncation() {
        let bytes = Array(sample.utf8)
        #expect(refusal(bytes) == nil)
        for count in 0..<bytes.count {
            #expect(refusal(Array(bytes[..<count]))?.hasPrefix("invalid JSON: ") == true, "cut at \(count)")
        }
    }

    @Test func everyByteReplaced() {
        // None may trap; what each gives does not matter here.
        let bytes = Array(sample.utf8)
        for index in bytes.indices {
            for byte: UInt8 in [0, 0x22, 0x5c, 0x7b, 0x5d, 0x75, 0x80, 0xff] {
                var changed = bytes
                changed[index] = byte
                #expect(refusal(changed)?.hasPrefix("wrong error") != true)
            }
        }
    }

    @Test func theOffsetIsNamed() {
        #expect(refusal("[1,x]") == "invalid JSON: unexpected character: test, byte 3")
    }

    @Test(arguments: [
        #""\ud800""#, #""\udc00""#, #""\ud800\ud800""#, #""\ud800x""#, #""\ud83d\n""#, #""\ud800\u0041""#,
    ])
    func halfSurrogates(text: String) {
        #expect(refusal(text)?.contains("unpaired surrogate") == true)
    }

    @Test(
        arguments: [
            [0x22, 0xff, 0x22], [0x22, 0xc3, 0x22], [0x22, 0xc0, 0x80, 0x22], [0x22, 0xed, 0xa0, 0x80, 0x22],
            [0x22, 0xf4, 0x90, 0x80, 0x80, 0x22], [0x22, 0xe2, 0x82, 0x22],
        ] as [[UInt8]])
    func notUTF8(bytes: [UInt8]) {
        #expect(refusal(bytes)?.hasPrefix("invalid JSON: not UTF-8") == true)
    }

    @Test func duplicates() {
        #expect(refusal(#"{"a":1,"b":2,"a":1}"#) == "invalid JSON: duplicate member \"a\": test, byte 13")
        #expect(refusal(#"[{"x":{"a":1,"\u0061":1}}]"#)?.contains("duplicate member \"a\"") == true)
        // The message holds neither an escape sequence nor a name without end.
        #expect(
            refusal(#"{"\u001b[2J":1,"\u001b[2J":1}"#)?.contains(#"duplicate member "\u001b[2J""#) == true)
        let long = String(repeating: "x", count: 100_000)
        #expect(refusal("{\"\(long)\":1,\"\(long)\":1}").map { $0.utf8.count < 200 } == true)
    }

    @Test func whatCouldSteerATerminalIsEscaped() throws {
        let text = "\u{1b}[2J \u{9b} \u{202e} \u{2028} \u{e000} \u{e0041} \u{e9} \u{1f680}"
        let line = JSON.string(text).description
        #expect(line == #""\u001b[2J \u009b \u202e \u2028 \ue000 \udb40\udc41 \#u{e9} \#u{1f680}""#)
        #expect(try parse(line) == .string(text))
    }

    @Test func namesAreComparedByBytes() throws {
        // Canonically equivalent: one accented letter, and a letter with an accent behind it.
        let value = try parse(#"{"\u00e9":1,"e\u0301":2}"#)
        #expect(value["\u{e9}"] == 1)
        #expect(value["e\u{301}"] == 2)
        // The Kelvin sign is no K.
        #expect(try parse(#"{"\u212a":1}"#)["K"] == nil)
        #expect(JSON.string("\u{e9}") != JSON.string("e\u{301}"))
    }

    @Test func depth() {
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        #expect(refusal(nested(JSON.maximumDepth)) == nil)
        #expect(refusal(nested(JSON.maximumDepth + 1))?.contains("nested deeper than 32 levels") == true)
        #expect(refusal(String(repeating: "[", count: 1 << 20))?.contains("nested deeper") == true)
        #expect(refusal(String(repeating: "{\"a\":", count: 1 << 18))?.contains("nested deeper") == true)
    }

    @Test func countOfValues() {
        func list(_ count: Int) -> String { "[" + String(repeating: "1,", count: count - 2) + "1]" }
        #expect(refusal(list(JSON.maximumValues)) == nil)
        #expect(refusal(list(JSON.maximumValues + 1))?.contains("more than 16384 values") == true)
    }
}

@Suite struct Writing {
    @Test func roundTrip() throws {
        let value = try parse(sample)
        #expect(
            value.description
                == #"{"a":[1,-2,{"b":null}],"é😀":"\"\\/é😀\n","t":true,"f":false,"n":-1.5e+10,"o":{},"l":[]}"#)
        #expect(try parse(value.description) == value)
        #expect(value.line == Array("\(value)\n".utf8))
    }

    @Test func everyControlCharacterIsEscaped() throws {
        for code in Array(UInt32(0)..<0x20) + Array(0x7f..<0xa0) {
            let scalar = try #require(Unicode.Scalar(code))
            let value = JSON.string("a\(scalar)b")
            #expect(!value.description.unicodeScalars.contains(scalar))
            #expect(try parse(value.description) == value)
        }
    }

    @Test func literals() {
        let value: JSON = ["z": 1, "a": [true, "x"]]
        #expect(value.description == #"{"z":1,"a":[true,"x"]}"#)
    }
}

@Suite struct MemberReading {
    private let members: Members

    init() throws {
        members = try Members(
            of: parse(#"{"s":"x","i":1,"h":99999999999999999999,"b":true,"l":[1],"o":{"s":2},"n":null}"#),
            at: "test")
    }

    private func says(_ what: String, _ body: () throws -> Void) {
        #expect(throws: Failure(.badData, what, at: "test"), performing: body)
    }

    @Test func types() throws {
        #expect(try members.string("s") == "x")
        #expect(try members.integer("i") == 1)
        #expect(try members.bool("b"))
        #expect(try members.object("o").integer("s") == 2)
        #expect(try members.stringOrNull("s") == "x")
        #expect(try members.stringOrNull("n") == nil)
        #expect(try members.objectOrNull("n") == nil)
        #expect(members.contains("n") && !members.contains("x"))
        #expect(members.others(than: ["s", "i", "h", "b", "l", "o"]) == [.init("n", .null)])
    }

    @Test func faultsNameTheMember() {
        says("member s is not a 64-bit integer") { _ = try members.integer("s") }
        says("member h is not a 64-bit integer") { _ = try members.integer("h") }
        says("member n is not a string") { _ = try members.string("n") }
        says("member i is neither true nor false") { _ = try members.bool("i") }
        says("member l is not an object") { _ = try members.object("l") }
        says("member o.s is not a string") { _ = try members.object("o").string("s") }
        says("member o.x is missing") { _ = try members.object("o").string("x") }
        says("member x is missing") { _ = try members.stringOrNull("x") }
        says("member x is missing") { _ = try members.objectOrNull("x") }
        says("not a JSON object") { _ = try Members(of: [], at: "test") }
    }
}
