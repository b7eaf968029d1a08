import COpenSSL
import Plumbing

/// Key material: fixed bytes that are overwritten when the value ends, and that no message can print.
public final class Secret: @unchecked Sendable {
    private let storage: UnsafeMutableRawBufferPointer

    /// Copies `bytes`; the caller clears its own copy.
    public init(_ bytes: some Collection<UInt8>) {
        storage = .allocate(byteCount: bytes.count, alignment: 16)
        storage.copyBytes(from: bytes)
    }

    private init(count: Int) {
        storage = .allocate(byteCount: count, alignment: 16)
    }

    deinit {
        OPENSSL_cleanse(storage.baseAddress, storage.count)
        storage.deallocate()
    }

    public var count: Int { storage.count }

    /// The bytes, valid inside `body` alone.
    public func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try body(UnsafeRawBufferPointer(storage))
    }

    /// `count` random bytes from libcrypto's generator for private values.
    public static func random(count: Int) throws -> Secret {
        let secret = Secret(count: count)
        guard
            RAND_priv_bytes(secret.storage.assumingMemoryBound(to: UInt8.self).baseAddress, Int32(count)) == 1
        else { throw failure(of: "RAND_priv_bytes") }
        return secret
    }

    /// HKDF-Expand with HMAC-SHA-512 (RFC 5869, section 2.3); this secret is the pseudorandom key.
    ///
    /// - Parameter count: bytes of output, at most 255 × 64.
    public func expand(info: [UInt8], count: Int) throws -> Secret {
        let output = Secret(count: count)
        guard let function = EVP_KDF_fetch(nil, "HKDF", nil) else { throw failure(of: "EVP_KDF_fetch") }
        defer { EVP_KDF_free(function) }
        guard let context = EVP_KDF_CTX_new(function) else { throw failure(of: "EVP_KDF_CTX_new") }
        defer { EVP_KDF_CTX_free(context) }

        var mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY
        var info = info
        var digest = Array("SHA512".utf8CString)
        let done = digest.withUnsafeMutableBufferPointer { digest in
            info.withUnsafeMutableBytes { info in
                withUnsafeMutablePointer(to: &mode) { mode in
                    let parameters = [
                        OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, mode),
                        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest.baseAddress, 0),
                        OSSL_PARAM_construct_octet_string(
                            OSSL_KDF_PARAM_KEY, storage.baseAddress, storage.count),
                        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info.baseAddress, info.count),
                        OSSL_PARAM_construct_end(),
                    ]
                    let bytes = output.storage.assumingMemoryBound(to: UInt8.self).baseAddress
                    return EVP_KDF_derive(context, bytes, count, parameters)
                }
            }
        }
        guard done == 1 else { throw failure(of: "HKDF-Expand") }
        return output
    }
}

/// `count` random bytes from libcrypto's generator for public values, such as salts.
public func randomBytes(count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    guard RAND_bytes(&bytes, Int32(count)) == 1 else { throw failure(of: "RAND_bytes") }
    return bytes
}

/// Compares in a time that depends on the lengths alone.
public func equalInConstantTime(_ one: UnsafeRawBufferPointer, _ other: UnsafeRawBufferPointer) -> Bool {
    one.count == other.count && CRYPTO_memcmp(one.baseAddress, other.baseAddress, one.count) == 0
}
