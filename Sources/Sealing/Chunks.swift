import Envelope
import OpenSSL
import Plumbing

/// The chunks of one stream: C2SP chunked-encryption, the instance that C2SP calls Cobblestone-256
/// (HKDF-Expand-SHA-512, AES-256-GCM); `escapepod-stream(5)` has the offsets.
struct Chunks {
    let commitment: [UInt8]
    private let cipher: AES256GCM
    private let baseNonce: [UInt8]
    private var count: UInt64 = 0

    /// - Parameters:
    ///   - inputKey: that of the header's kind.
    ///   - header: it is the context of the derivation, so that a stream under another header does not open.
    init(_ direction: AES256GCM.Direction, inputKey: Secret, header: Envelope.Header, salt: [UInt8]) throws {
        let info = Array("c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM".utf8) + [0] + salt + header.bytes
        let lengths = (
            key: AES256GCM.keyLength, nonce: AES256GCM.nonceLength, commitment: Envelope.commitmentLength
        )
        let derived = try inputKey.expand(
            info: info, count: lengths.key + lengths.nonce + lengths.commitment)
        (cipher, baseNonce, commitment) = try derived.withBytes { bytes in
            (
                try AES256GCM(key: .init(rebasing: bytes[..<lengths.key]), direction),
                Array(bytes[lengths.key..<(lengths.key + lengths.nonce)]),
                Array(bytes[(lengths.key + lengths.nonce)...])
            )
        }
    }

    /// Whether a stream that says this of itself is sealed under the key, header and salt; in constant time.
    func isCommitted(to commitment: some Collection<UInt8>) -> Bool {
        self.commitment.withUnsafeBytes { derived in
            Array(commitment).withUnsafeBytes { equalInConstantTime(derived, $0) }
        }
    }

    /// Seals the next chunk; `sealed` has room for its bytes and the tag.
    mutating func seal(_ plaintext: UnsafeRawBufferPointer, into sealed: UnsafeMutableRawBufferPointer) throws
    {
        try cipher.seal(plaintext, nonce: try nextNonce(), into: sealed)
    }

    /// Opens the next chunk; `plaintext` has room for its bytes without the tag.
    mutating func open(
        _ sealed: UnsafeRawBufferPointer, into plaintext: UnsafeMutableRawBufferPointer, at place: String
    ) throws {
        let number = count
        guard try tryToOpen(sealed, into: plaintext) else {
            let offset =
                UInt64(Envelope.prefixLength) + number * UInt64(Envelope.chunkLength + Envelope.tagLength)
            throw Failure(
                .badData, "chunk \(number) fails authentication: damaged or tampered with",
                at: "\(place), byte \(offset)")
        }
    }

    /// Opens the next chunk. Returns whether its tag is right; where it is not, nobody may use `plaintext`.
    mutating func tryToOpen(
        _ sealed: UnsafeRawBufferPointer, into plaintext: UnsafeMutableRawBufferPointer
    ) throws -> Bool {
        cipher.open(sealed, nonce: try nextNonce(), into: plaintext)
    }

    private mutating func nextNonce() throws -> [UInt8] {
        guard count < Envelope.maximumChunks else {
            throw Failure(.badData, "a sealed stream cannot exceed 4 PiB")
        }
        var nonce = baseNonce
        for index in 0..<8 {
            nonce[nonce.count - 1 - index] ^= UInt8(truncatingIfNeeded: count >> (8 * index))
        }
        count += 1
        return nonce
    }
}
