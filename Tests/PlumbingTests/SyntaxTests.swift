import Plumbing
import Testing

@Suite struct SyntaxTests {
    @Test(arguments: ["a", "pod.example.org", "_x-9.z", "-", "a..b", String(repeating: "a", count: 253)])
    func domain(_ text: String) {
        #expect(text.isDomain)
    }

    @Test(arguments: [
        "", ".", "..", ".a", "../x", "a/b", "A", "a b", "a:b", "a\n", "a\0", "é", "\u{212a}", "a\u{301}",
        ".\u{301}", String(repeating: "a", count: 254),
    ])
    func noDomain(_ text: String) {
        #expect(!text.isDomain)
    }

    @Test(arguments: [
        (0, 3, "000"), (42, 3, "042"), (999, 3, "999"), (1000, 3, "1000"),
        (UInt64.max, 3, "18446744073709551615"),
    ])
    func padded(number: UInt64, count: Int, text: String) {
        #expect(number.padded(to: count) == text)
    }

    @Test func paddedHexadecimal() {
        #expect(UInt32(0x1b).padded(to: 4, radix: 16) == "001b")
    }

    @Test(arguments: [
        (0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (1075, "1.0 KiB"), (1076, "1.1 KiB"),
        (1_048_575, "1.0 MiB"), (1_048_576, "1.0 MiB"), (1_610_612_736, "1.5 GiB"), (1 << 40, "1.0 TiB"),
        (UInt64.max, "16384.0 PiB"),
    ])
    func sizes(bytes: UInt64, text: String) {
        #expect(readable(bytes: bytes) == text)
    }
}
