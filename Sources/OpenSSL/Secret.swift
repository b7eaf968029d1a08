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
        guard let context = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, nil) else {
            throw failure(of: "EVP_PKEY_CTX_new_id")
        }
        defer { EVP_PKEY_CTX_free(context) }
        let key = storage.assumingMemoryBound(to: UInt8.self).baseAddress
        var written = count
        guard EVP_PKEY_derive_init(context) == 1,
            EVP_PKEY_CTX_set_hkdf_mode(context, EVP_KDF_HKDF_MODE_EXPAND_ONLY) == 1,
            EVP_PKEY_CTX_set_hkdf_md(context, EVP_sha512()) == 1,
            EVP_PKEY_CTX_set1_hkdf_key(context, key, Int32(storage.count)) == 1,
            EVP_PKEY_CTX_add1_hkdf_info(context, info, Int32(info.count)) == 1,
            EVP_PKEY_derive(context, output.storage.assumingMemoryBound(to: UInt8.self).baseAddress, &written)
                == 1,
            written == count
        else { throw failure(of: "HKDF-Expand") }
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
