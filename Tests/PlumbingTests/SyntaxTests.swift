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
}
