import Envelope
import OpenSSL
import Plumbing
import Testing

@testable import Sealing

/// Every expectation here comes from an implementation of its own, written in Python from `escapepod-stream(5)`.
@Suite struct KnownAnswers {
    @Test func keyAsTextAndItsID() throws {
        let key = Key(Secret((0..<32).map { UInt8($0) }))
        #expect(key.text == countingKey)
        #expect(try key.id().hex == "6b2b0ffe09d06d02726376b3d7c53fee")
    }

    @Test func aWholeStream() throws {
        let stream = bytes(
            "45504f445345414c01010100000000006b2b0ffe09d06d02726376b3d7c53fee"
                + "0000000000000000000000000000000000000000000000000000000000000000"
                + "6465666768696a6b6c6d6e6f707172737475767778797a7b"
                + "14b048e7db39ea5ab674b86d5184ed9693bdc7ad4cfdb60efeddc203ae6e3264"
                + "824d4b10df403cd1a87ebf39bc231059733558a8d245504f44444f4e45000000000000009d")
        let outcome = try unsealed(stream)
        #expect(outcome.failure == nil)
        #expect(outcome.bytes == Array("hello".utf8))
    }

    @Test(arguments: [
        (Envelope.Kind.blob, 0, "29b680c47662105ccb5b8396d9c1e4d62fcacb292a442f2bec7fda377ad12d06"),
        (.blob, 5, "83973838f4dda4a25b3aa90cde4f99750ede703eb7c8e91b6a728859cbb1d1b4"),
        (.metadata, 5, "719190572ae7843afb55f5480b7a83a634788c8dc0225c7d2673133afc6f8fa2"),
        (.blob, 16383, "be8c5b5bc5930cf01484c5847667309da20d9e9d50854a17827160a11e68dd6d"),
        (.blob, 16384, "f6573ca1fa9c3ddb06f102c789b04971f95b1b0c8d38bf0f7bd8bbbc48a5fd65"),
        (.blob, 16385, "3b52f72c8ec5cecf82524f75b2a30c5877e2c6e97b422482b44a4e07a0172c0b"),
        (.blob, 40000, "74864d1b277e025236a8e2ff6e7a71c1567d4382e1d9f884de8cc95c65a342b1"),
    ])
    func streamsUnderAFixedSalt(kind: Envelope.Kind, length: Int, sha256: String) throws {
        let key = try key()
        let header = Envelope.Header(kind: kind, keyID: try key.id())
        let salt = (100..<124).map { UInt8($0) }
        var chunks = try Chunks(.seal, inputKey: key.inputKey(of: kind), header: header, salt: salt)
        var stream = header.bytes + salt + chunks.commitment
        let plaintext = sample(length)
        for start in stride(from: 0, through: length, by: Envelope.chunkLength) {
            let chunk = plaintext[start..<min(start + Envelope.chunkLength, length)]
            var out = [UInt8](repeating: 0, count: chunk.count + Envelope.tagLength)
            try out.withUnsafeMutableBytes { out in
                try chunk.withUnsafeBytes { try chunks.seal($0, into: out) }
            }
            stream += out
        }
        stream += Envelope.trailer(length: UInt64(stream.count + Envelope.trailerLength))
        #expect(UInt64(stream.count) == Envelope.sealedLength(of: UInt64(length)))
        #expect(try Digest.hex(.sha256, of: stream) == sha256)
        if length > 0 { #expect(same(try unsealed(stream, kind).bytes, plaintext)) }
    }

    private func bytes(_ hex: String) -> [UInt8] {
        let digits = Array(hex)
        return stride(from: 0, to: digits.count, by: 2).compactMap {
            UInt8(String(digits[$0...($0 + 1)]), radix: 16)
        }
    }
}
