import Plumbing
import Testing

@Suite struct TextTests {
    @Test func goodTextIsShownAsItIs() {
        #expect(printable("6.1.0-28-amd64 é 日本 😀 \\") == "6.1.0-28-amd64 é 日本 😀 \\")
    }

    @Test func whatSteersATerminalIsNot() {
        #expect(
            printable("a\u{1b}[2J\u{9b}\n\u{202e}\u{2028}")
                == #"a\x1b[2J\xc2\x9b\x0a\xe2\x80\xae\xe2\x80\xa8"#)
    }

    @Test func bytesThatAreNoTextAreShownOneByOne() {
        #expect(printable([0x61, 0xff, 0x0a, 0xc3, 0xa9]) == #"a\xff\x0a\xc3\xa9"#)
    }

    @Test func aMessageNeverSteersATerminal() {
        let failure = Failure(.io, "w\u{1b}", at: "p\n", hint: "h\u{9b}")
        #expect(failure.message(from: "t") == #"t: w\x1b: p\x0a"# + "\n" + #"t: hint: h\xc2\x9b"#)
    }
}
