import Plumbing
import Testing

@testable import DuneSea

@Suite struct NameTests {
    @Test(arguments: ["a", "pod.example.org", "a_b-c.9", String(repeating: "x", count: 253)])
    func aDomain(_ text: String) { #expect(Domain(text)?.description == text) }

    @Test(arguments: [
        "", ".", "..", ".x", "../x", "a/b", "A", "a b", "a%2e", "a\0", "ä",
        String(repeating: "x", count: 254),
    ])
    func noDomain(_ text: String) { #expect(Domain(text) == nil) }

    @Test func addresses() {
        let good = String(repeating: "0f", count: 32)
        #expect(Address(good) != nil)
        for bad in ["", "..", good + "0", String(good.dropLast()), good.uppercased(), good.dropLast() + "/"] {
            #expect(Address(bad) == nil)
        }
    }

    @Test func endpoints() {
        for text in ["127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1"] {
            #expect(Endpoint(text)?.isLoopback == true)
        }
        for text in ["0.0.0.0:1", "[::]:1", "128.0.0.1:1", "127.0.0.1.evil.org:1", "example.org:1"] {
            #expect(Endpoint(text)?.isLoopback == false)
        }
        for text in ["", "1", ":1", "host", "host:", "host:65536", "host:-1", "::1:1"] {
            #expect(Endpoint(text) == nil)
        }
    }

    @Test func ranges() {
        #expect(ByteRange.parse("bytes=0-0", size: 10) == .part(0..<1))
        #expect(ByteRange.parse("bytes=3-", size: 10) == .part(3..<10))
        #expect(ByteRange.parse("bytes=3-99", size: 10) == .part(3..<10))
        #expect(ByteRange.parse("bytes=3-18446744073709551615", size: 10) == .part(3..<10))
        #expect(ByteRange.parse("bytes=-4", size: 10) == .part(6..<10))
        #expect(ByteRange.parse("bytes=-40", size: 10) == .part(0..<10))
        for text in ["bytes=10-", "bytes=10-12", "bytes=-0"] {
            #expect(ByteRange.parse(text, size: 10) == .unsatisfiable)
        }
        for text in [
            "bytes=4-3", "bytes=0-1,3-4", "bytes=a-b", "bytes=-", "bytes=", "lines=1-2", "bytes=1-2-3",
        ] {
            #expect(ByteRange.parse(text, size: 10) == .whole)
        }
    }
}

@Suite struct TokenTests {
    @Test func opensItsDomainOnly() throws {
        let place = try Place()
        let both = try Tokens.add(pod, [.append, .read], in: place.directory)
        let other = Domain("other")!
        let reader = try Tokens.add(other, .read, in: place.directory)
        let tokens = try Tokens(in: place.directory)
        #expect(tokens.rights(of: both, in: pod) == [.append, .read])
        #expect(tokens.rights(of: both, in: other) == nil)
        #expect(tokens.rights(of: reader, in: other) == .read)
        #expect(tokens.rights(of: "", in: pod) == nil)
        #expect(tokens.rights(of: both + " ", in: pod) == nil)
        let file = try File(Tokens.path(in: place.directory), 0)
        let text = String(decoding: try file.read(at: 0, count: 4096), as: UTF8.self)
        #expect(!text.contains(both.dropFirst("dunesea-".count)))

        try Tokens.remove(tokens.entries[0].id, in: place.directory)
        #expect(try Tokens(in: place.directory).rights(of: both, in: pod) == nil)
        #expect(throws: Failure.self) { try Tokens.remove("nobody", in: place.directory) }
    }

    @Test func aRunningServerSeesChanges() throws {
        let place = try Place()
        let door = try Doorkeeper(directory: place.directory)
        #expect(try door.current().entries.isEmpty)
        let token = try Tokens.add(pod, .read, in: place.directory)
        #expect(try door.current().rights(of: token, in: pod) == .read)
        try Tokens.remove(door.current().entries[0].id, in: place.directory)
        #expect(try door.current().rights(of: token, in: pod) == nil)
    }
}
