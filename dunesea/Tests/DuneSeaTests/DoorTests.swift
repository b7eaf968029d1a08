import DuneSeaProtocol
import DurableFiles
import Glibc
import Plumbing
import StoreFormat
import Testing

@testable import DuneSea

@Suite struct NameTests {
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

@Suite struct RefusalTests {
    /// What the disk says reaches the client as it is, but for this machine's paths.
    @Test func aFailureOfTheDiskIsSaid() throws {
        let place = try Place()
        let ground = try place.open().ground
        for (code, status, detail, hint) in [
            (
                ENOSPC, Status.insufficientStorage,
                "the store's disk is full: cannot write: no space left on device",
                "the operator can free some space"
            ),
            (
                EIO, .internalServerError, "the store's disk failed: cannot write: input/output error",
                "see the server's log"
            ),
        ] {
            let failure = Failure.system("cannot write", at: "\(place.directory)/dunesea/x", errno: code)
            #expect(
                Refusal(failure, on: ground).problem
                    == Problem(status, detail, at: "dunesea/x", hint: hint, exit: .io))
        }
        let other = Refusal(Failure(.badData, "secret", at: place.directory), on: ground).problem
        #expect(other == Problem(.internalServerError, "internal error", hint: "see the server's log"))
    }
}

@Suite struct TokenTests {
    @Test func opensItsDomainOnly() throws {
        let place = try Place()
        let both = try Tokens.add(pod, [.append, .read], in: place.directory)
        let other = try Domain("other")
        let reader = try Tokens.add(other, .read, in: place.directory)
        let tokens = try Tokens(in: place.directory)
        #expect(tokens.rights(of: both, in: pod) == [.append, .read])
        #expect(tokens.rights(of: both, in: other) == nil)
        #expect(tokens.rights(of: reader, in: other) == .read)
        #expect(tokens.rights(of: "", in: pod) == nil)
        let system = try Tokens.add(pod, [.append, .below], in: place.directory)
        let all = try Tokens(in: place.directory)
        for (name, isOpen) in [
            ("home.\(pod)", true), ("a.b.\(pod)", true), ("x\(pod)", false), ("\(other)", false),
        ] {
            #expect((all.rights(of: system, in: try Domain(name)) != nil) == isOpen, "\(name)")
            #expect(all.rights(of: both, in: try Domain(name)) == nil)
        }
        #expect(tokens.rights(of: both + " ", in: pod) == nil)
        let file = try opened("\(place.directory)/dunesea/tokens", O_RDONLY)
        let text = String(decoding: try file.read(at: 0, count: 4096), as: UTF8.self)
        #expect(!text.contains(both.dropFirst("dunesea-".count)))

        try Tokens.remove(tokens.entries[0].id, in: place.directory)
        #expect(try Tokens(in: place.directory).rights(of: both, in: pod) == nil)
        #expect(throws: Failure.self) { try Tokens.remove("nobody", in: place.directory) }
    }

    @Test func aRunningServerSeesChanges() throws {
        let place = try Place()
        let door = try TokenCache(directory: place.directory)
        #expect(try door.current().entries.isEmpty)
        let token = try Tokens.add(pod, .read, in: place.directory)
        #expect(try door.current().rights(of: token, in: pod) == .read)
        try Tokens.remove(door.current().entries[0].id, in: place.directory)
        #expect(try door.current().rights(of: token, in: pod) == nil)
    }
}
