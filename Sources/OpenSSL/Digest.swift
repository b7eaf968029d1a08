import COpenSSL
import Plumbing

/// A running SHA-2 digest (FIPS 180-4) through libcrypto.
///
/// Not for use from two threads at once; it may move from one to another.
public final class Digest: @unchecked Sendable {
    public enum Algorithm: Sendable {
        case sha256
        case sha512
    }

    private let context: OpaquePointer

    public init(_ algorithm: Algorithm) throws {
        guard let context = EVP_MD_CTX_new() else { throw failure(of: "EVP_MD_CTX_new") }
        self.context = context
        let function = algorithm == .sha256 ? EVP_sha256() : EVP_sha512()
        guard EVP_DigestInit_ex(context, function, nil) == 1 else { throw failure(of: "EVP_DigestInit_ex") }
    }

    deinit { EVP_MD_CTX_free(context) }

    public func update(_ bytes: UnsafeRawBufferPointer) {
        precondition(EVP_DigestUpdate(context, bytes.baseAddress, bytes.count) == 1)
    }

    /// Ends the digest; nothing may be added afterwards. 32 bytes of SHA-256, 64 of SHA-512, in lower-case hex.
    public func finish() -> String { end().hex }

    private func end() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
        var count: UInt32 = 0
        precondition(EVP_DigestFinal_ex(context, &bytes, &count) == 1)
        return Array(bytes.prefix(Int(count)))
    }

    /// The digest of bytes in memory.
    public static func bytes(_ algorithm: Algorithm, of bytes: [UInt8]) throws -> [UInt8] {
        let digest = try Digest(algorithm)
        bytes.withUnsafeBytes { digest.update($0) }
        return digest.end()
    }

    /// The digest of bytes in memory, in lower-case hex.
    public static func hex(_ algorithm: Algorithm, of bytes: [UInt8]) throws -> String {
        try Digest.bytes(algorithm, of: bytes).hex
    }
}
