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
}
