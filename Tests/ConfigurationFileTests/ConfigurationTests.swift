import ConfigurationFile
import Plumbing
import Testing

@Suite struct ConfigurationTests {
    private let known: [Configuration.Setting] = [
        .init("store"), .init("key-space"), .init("insecure", .toggle),
    ]

    private func parse(_ text: String) throws -> Configuration {
        try Configuration(parsing: Array(text.utf8), at: "x.conf", knowing: known)
    }

    @Test func linesBecomeSettings() throws {
        let read = try parse("# a comment\n\nstore=label:a drive = one\nkey_space=/k\ninsecure=yes")
        #expect(read.values == ["store": "label:a drive = one", "key-space": "/k", "insecure": "yes"])
        #expect(try parse("key-space=\n").values == ["key-space": ""])
    }

    @Test(arguments: [
        ("store=x\ncolour=green\n", 2, "no such setting"), ("store\n", 1, "no such setting"),
        (" store=x\n", 1, "no such setting"), ("store=x\r\n", 1, "the line ends in a carriage return"),
        ("#\nstore=a\u{1b}[2J\n", 2, "a control character"), ("insecure=no\n", 1, "insecure can only be yes"),
        ("store=a\nkey_space=b\nstore=c\n", 3, "store is set twice"),
        ("key_space=a\nkey-space=a\n", 2, "key_space is set twice"),
    ])
    func whatIsWrongHasItsLine(_ text: String, _ line: Int, _ what: String) {
        let failure = #expect(throws: Failure.self) { try parse(text) }
        #expect(failure?.status == .badData)
        #expect(failure?.what.hasPrefix(what) == true)
        #expect(failure?.place == "x.conf, line \(line)")
    }

    @Test func aListHasAValueInEachLine() throws {
        let settings: [Configuration.Setting] = [.init("store"), .init("leave-out", .list)]
        let text = "store=s\nleave_out=/a b\nleave_out=/c\n"
        let read = try Configuration(parsing: Array(text.utf8), at: "x.conf", knowing: settings)
        #expect(read.list("leave-out") == ["/a b", "/c"])
        #expect(read.list("store") == ["s"])
        #expect(read.list("other").isEmpty)
        #expect(read.lines(of: settings) == "# escapepod.conf, see escapepod(1)\n" + text)
    }

    @Test func bytesThatAreNoTextAreRefused() {
        let bytes = Array("store=".utf8) + [0xff, 0x0a]
        let failure = #expect(throws: Failure.self) {
            try Configuration(parsing: bytes, at: "x.conf", knowing: known)
        }
        #expect(failure?.what == "not UTF-8")
    }

    @Test func whatIsWrittenIsReadAgain() throws {
        let values = ["key-space": "/mnt/k", "store": "file:/s", "insecure": "yes"]
        let text = Configuration(values.merging(["volume": "unknown"]) { one, _ in one }).lines(of: known)
        #expect(text == "# escapepod.conf, see escapepod(1)\nstore=file:/s\nkey_space=/mnt/k\ninsecure=yes\n")
        #expect(try parse(text).values == values)
        #expect(Configuration(["store": ""]).lines(of: known).hasSuffix("(1)\n"))
    }
}
