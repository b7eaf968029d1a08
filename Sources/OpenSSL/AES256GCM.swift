import COpenSSL
import Plumbing

/// AES-256-GCM (NIST SP 800-38D) with 12-byte nonces, 16-byte tags and no additional data, for one direction.
///
/// Not for use from two threads at once.
public final class AES256GCM {
    public static let keyLength = 32
    public static let nonceLength = 12
    public static let tagLength = 16

    public enum Direction: Int32, Sendable {
        case open = 0
        case seal = 1
    }

    private let context: OpaquePointer
    private let direction: Direction

    /// - Parameter key: `keyLength` bytes; libcrypto keeps a copy and clears it at the end.
    public init(key: UnsafeRawBufferPointer, _ direction: Direction) throws {
        precondition(key.count == AES256GCM.keyLength)
        guard let context = EVP_CIPHER_CTX_new() else { throw failure(of: "EVP_CIPHER_CTX_new") }
        self.context = context
        self.direction = direction
        let bytes = key.assumingMemoryBound(to: UInt8.self).baseAddress
        guard EVP_CipherInit_ex(context, EVP_aes_256_gcm(), nil, bytes, nil, direction.rawValue) == 1 else {
            throw failure(of: "EVP_CipherInit_ex")
        }
    }

    deinit { EVP_CIPHER_CTX_free(context) }

    /// Seals `plaintext` into `sealed`, which takes as many bytes and the tag behind them.
    ///
    /// - Parameter nonce: `nonceLength` bytes, never used before under this key.
    public func seal(
        _ plaintext: UnsafeRawBufferPointer, nonce: [UInt8], into sealed: UnsafeMutableRawBufferPointer
    ) throws {
        precondition(direction == .seal && sealed.count == plaintext.count + AES256GCM.tagLength)
        let out = sealed.assumingMemoryBound(to: UInt8.self).baseAddress!
        var last: Int32 = 0
        guard start(nonce), update(plaintext, into: out),
            EVP_EncryptFinal_ex(context, out + plaintext.count, &last) == 1,
            EVP_CIPHER_CTX_ctrl(
                context, EVP_CTRL_AEAD_GET_TAG, Int32(AES256GCM.tagLength), out + plaintext.count) == 1
        else { throw failure(of: "AES-256-GCM") }
    }

    /// Opens `sealed`, whose last `tagLength` bytes are the tag, into `plaintext`, which is that much shorter.
    ///
    /// - Returns: whether the tag is right; where it is not, `plaintext` holds bytes that nobody may use.
    public func open(
        _ sealed: UnsafeRawBufferPointer, nonce: [UInt8], into plaintext: UnsafeMutableRawBufferPointer
    ) -> Bool {
        precondition(direction == .open && sealed.count == plaintext.count + AES256GCM.tagLength)
        let out = plaintext.assumingMemoryBound(to: UInt8.self).baseAddress!
        let tag = UnsafeMutableRawPointer(mutating: sealed.baseAddress! + plaintext.count)
        var last: Int32 = 0
        return start(nonce)
            && update(.init(rebasing: sealed[..<plaintext.count]), into: out)
            && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, Int32(AES256GCM.tagLength), tag) == 1
            && EVP_DecryptFinal_ex(context, out + plaintext.count, &last) == 1
    }

    private func start(_ nonce: [UInt8]) -> Bool {
        precondition(nonce.count == AES256GCM.nonceLength)
        return EVP_CipherInit_ex(context, nil, nil, nil, nonce, direction.rawValue) == 1
    }

    private func update(_ input: UnsafeRawBufferPointer, into output: UnsafeMutablePointer<UInt8>) -> Bool {
        guard let start = input.assumingMemoryBound(to: UInt8.self).baseAddress, !input.isEmpty else {
            return true
        }
        var count: Int32 = 0
        return EVP_CipherUpdate(context, output, &count, start, Int32(input.count)) == 1
    }
}
