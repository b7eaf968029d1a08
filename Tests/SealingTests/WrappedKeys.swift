import Envelope
import OpenSSL
import Plumbing
import Testing

@testable import Sealing

func passphrase(_ text: String) throws -> Passphrase {
    try Passphrase(from: "test") { bytes in
        bytes.copyBytes(from: text.utf8)
        return text.utf8.count
    }
}

@Suite struct WrappedKeys {
    private static let words = "correct horse"
    private static let salt = (100..<124).map { UInt8($0) }

    /// Wrapped at the lowest cost there is, so that a test can afford hundreds of them.
    private static func wrapped(_ stretching: Stretching? = nil) throws -> [UInt8] {
        let stretching = stretching ?? Stretching(logN: 10, r: 8, p: 1, salt: (200..<216).map { UInt8($0) })
        return try WrappedKey.wrap(key(), under: passphrase(words), stretching, salt: salt)
    }

    private func failure(of bytes: [UInt8], _ words: String = words) throws -> Failure? {
        do {
            _ = try WrappedKey(parsing: bytes, at: "test").unwrap(with: passphrase(words))
            return nil
        } catch let failure as Failure {
            return failure
        }
    }

    @Test func isTheOneOfTheManPage() throws {
        #expect(
            try WrappedKeys.wrapped().hex
                == "45504f445345414c01010300000000006b2b0ffe09d06d02726376b3d7c53fee"
                + "0a080100000000003a99d4f41ff57f6ec8c9cacbcccdcecfd0d1d2d3d4d5d6d7"
                + "6465666768696a6b6c6d6e6f707172737475767778797a7b8018cbbb94f235fb"
                + "f58d6bb06948ee545b831db495467bda9fee6258080249185665cc5f20255b98"
                + "dd85e8a045b3b407ae480d1005dd3a86685dc1c2510829dbda8ea13a59a55d67"
                + "ad55f256b8cfa0f045504f44444f4e4500000000000000b8")
    }

    @Test func comesBackAtTheUsualCost() throws {
        let wrapped = try WrappedKey.wrap(key(), under: passphrase(WrappedKeys.words))
        #expect(wrapped.count == 184 && WrappedKey.length == 184)
        #expect(Array(wrapped[32..<35]) == [18, 8, 1])
        let parsed = try WrappedKey(parsing: wrapped, at: "test")
        #expect(try parsed.keyID == key().id())
        #expect(try parsed.unwrap(with: passphrase(WrappedKeys.words)).text == countingKey)
        let again = try WrappedKey.wrap(key(), under: passphrase(WrappedKeys.words))
        #expect(again[48..<184] != wrapped[48..<184], "new salts each time")
    }

    @Test func everyByteFlippedIsDamageAndNeverAWrongPassphrase() throws {
        let wrapped = try WrappedKeys.wrapped()
        #expect(try failure(of: wrapped) == nil)
        for index in wrapped.indices {
            for bit in [UInt8(1), 0x80] {
                var bad = wrapped
                bad[index] ^= bit
                let failure = try #require(try failure(of: bad), "byte \(index)")
                #expect(failure.status == .badData)
                let expected =
                    switch index {
                    case 0..<8: "not a sealed stream"
                    case 8, 9, 11: "unknown "
                    case 10: bit == 1 ? "reserved byte 32 of the header" : "unknown kind 131"
                    case 12..<16: "reserved byte \(index) of the header"
                    default: "the wrapped key is damaged"
                    }
                #expect(failure.what.contains(expected), "byte \(index): \(failure.what)")
            }
        }
    }

    @Test func everyCutIsSeen() throws {
        let wrapped = try WrappedKeys.wrapped()
        for length in 0..<wrapped.count {
            #expect(try failure(of: Array(wrapped[..<length]))?.status == .badData, "\(length) bytes")
        }
        #expect(try failure(of: wrapped + [0])?.what.contains("damaged") == true)
    }

    @Test(arguments: [
        "correct house", "Correct horse", "correct", "correct horse correct horse", "correcthorse",
    ])
    func aWrongPassphraseIsNamed(words: String) throws {
        #expect(try failure(of: WrappedKeys.wrapped(), words)?.what == "wrong passphrase")
    }

    @Test(arguments: ["correct horse\n", "  correct\thorse", "correct\r\n  horse\u{b}\u{c}"])
    func whiteSpaceIsOneSpace(words: String) throws {
        #expect(try failure(of: WrappedKeys.wrapped(), words) == nil)
    }

    @Test(arguments: ["", "\n", " \t\r\n"])
    func anEmptyPassphraseIsRefused(words: String) throws {
        #expect(throws: Failure.self) { try passphrase(words) }
    }

    @Test func anotherKeyIsNamed() throws {
        let wrapped = try WrappedKey(parsing: WrappedKeys.wrapped(), at: "test")
        try wrapped.require(id: key().id().hex)
        let failure = #expect(throws: Failure.self) { try wrapped.require(id: Key.generate().id().hex) }
        #expect(failure?.status == .badData)
        #expect(
            failure?.what.hasPrefix("another key: its id is 6b2b0ffe09d06d02726376b3d7c53fee, not ") == true)
    }

    @Test(arguments: [
        (0, 8, 1), (9, 8, 1), (21, 1, 1), (255, 8, 1), (10, 0, 1), (10, 33, 1), (10, 8, 0), (10, 8, 17),
        (20, 9, 1),
        (20, 32, 16), (19, 17, 1), (16, 1, 1), (255, 255, 255), (20, 8, 3), (18, 32, 16),
    ])
    func whatIsOutOfBoundsIsRefused(logN: UInt8, r: UInt8, p: UInt8) {
        let parameters = Stretching(logN: logN, r: r, p: p, salt: [UInt8](repeating: 0, count: 16)).parameters
        let failure = #expect(throws: Failure.self) { try Stretching(parsing: parameters, at: "test") }
        #expect(failure?.what.contains("out of range") == true)
    }

    @Test(arguments: [(10, 8, 1), (20, 8, 2), (18, 32, 2), (18, 8, 8), (15, 1, 1), (16, 2, 1)])
    func theBoundsThemselvesAreAllowed(logN: UInt8, r: UInt8, p: UInt8) throws {
        let parameters = Stretching(logN: logN, r: r, p: p, salt: [UInt8](repeating: 0, count: 16)).parameters
        _ = try Stretching(parsing: parameters, at: "test")
    }

    @Test func newPassphrasesAreTenWordsOfTheList() throws {
        let list = Set(passphraseWords)
        #expect(list.count == 2048)
        #expect(Set(passphraseWords.map { $0.prefix(4) }).count == 2048, "four letters tell each word")
        var seen: Set<Substring> = []
        for _ in 0..<200 {
            let text = try Passphrase.generate().withBytes { String(decoding: $0, as: UTF8.self) }
            let words = text.split(separator: " ", omittingEmptySubsequences: false)
            #expect(words.count == 10 && words.allSatisfy(list.contains))
            seen.formUnion(words)
        }
        // 2000 words drawn out of 2048 leave 771 unseen, give or take 20.
        #expect((1150...1400).contains(seen.count), "\(seen.count) different words of 2000")
    }
}

/// RFC 7914, section 12.
@Suite struct Scrypt {
    @Test(arguments: [
        (
            "", "", 16, 1, 1,
            "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442"
                + "fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906"
        ),
        (
            "password", "NaCl", 1024, 8, 16,
            "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
                + "2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640"
        ),
        (
            "pleaseletmein", "SodiumChloride", 16384, 8, 1,
            "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
                + "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"
        ),
        (
            "pleaseletmein", "SodiumChloride", 1 << 20, 8, 1,
            "2101cb9b6a511aaeaddbbe09cf70f881ec568d574a2ffd4dabe5ee9820adaa47"
                + "8e56fd8f4ba5d09ffa1c6d927c40f4c337304049e8a952fbcbf45c6fa77a41a4"
        ),
    ])
    func knownAnswers(password: String, salt: String, n: UInt64, r: UInt64, p: UInt64, answer: String) throws
    {
        let derived = try Secret(Array(password.utf8)).scrypt(
            salt: Array(salt.utf8), n: n, r: r, p: p, count: 64)
        #expect(derived.withBytes { Array($0) }.hex == answer)
    }
}
