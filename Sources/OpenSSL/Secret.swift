import COpenSSL
import Plumbing

/// Key material: fixed bytes that are overwritten when the value ends, and that no message can print.
public final class Secret: @unchecked Sendable {
    private let storage: UnsafeMutableRawBufferPointer
    public let count: Int

    /// Copies `bytes`; the caller wipes its own copy.
    public init(_ bytes: some Collection<UInt8>) {
        count = bytes.count
        storage = .allocate(byteCount: count, alignment: 16)
        storage.copyBytes(from: bytes)
    }

    /// Takes what `fill` puts into memory of `capacity` bytes, of which there are no other copies.
    ///
    /// - Parameter fill: returns the count of bytes, at most `capacity`.
    public init(upTo capacity: Int, _ fill: (UnsafeMutableRawBufferPointer) throws -> Int) rethrows {
        let storage = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity, alignment: 16)
        self.storage = storage
        do {
            count = try fill(storage)
        } catch {
            wipe(storage)
            storage.deallocate()
            throw error
        }
        precondition(count <= capacity)
    }

    deinit {
        wipe(storage)
        storage.deallocate()
    }

    /// The bytes, valid inside `body` alone.
    public func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try body(UnsafeRawBufferPointer(rebasing: storage[..<count]))
    }

    /// `count` random bytes from libcrypto's generator for private values.
    public static func random(count: Int) throws -> Secret {
        try Secret(upTo: count) { bytes in
            guard RAND_priv_bytes(bytes.assumingMemoryBound(to: UInt8.self).baseAddress, Int32(count)) == 1
            else { throw noRandomness() }
            return count
        }
    }

    /// HKDF-Expand with HMAC-SHA-512 (RFC 5869, section 2.3); this secret is the pseudorandom key.
    ///
    /// - Parameter count: bytes of output, at most 255 × 64.
    public func expand(info: [UInt8], count: Int) throws -> Secret {
        guard let context = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, nil) else {
            throw failure(of: "EVP_PKEY_CTX_new_id")
        }
        defer { EVP_PKEY_CTX_free(context) }
        let key = storage.assumingMemoryBound(to: UInt8.self).baseAddress
        return try Secret(upTo: count) { output in
            var written = count
            guard EVP_PKEY_derive_init(context) == 1,
                EVP_PKEY_CTX_set_hkdf_mode(context, EVP_KDF_HKDF_MODE_EXPAND_ONLY) == 1,
                EVP_PKEY_CTX_set_hkdf_md(context, EVP_sha512()) == 1,
                EVP_PKEY_CTX_set1_hkdf_key(context, key, Int32(self.count)) == 1,
                EVP_PKEY_CTX_add1_hkdf_info(context, info, Int32(info.count)) == 1,
                EVP_PKEY_derive(context, output.assumingMemoryBound(to: UInt8.self).baseAddress, &written)
                    == 1,
                written == count
            else { throw failure(of: "HKDF-Expand") }
            return count
        }
    }

    /// HMAC-SHA-256 (RFC 2104) of the bytes under this secret.
    public func hmac(of bytes: [UInt8]) throws -> [UInt8] {
        var mac = [UInt8](repeating: 0, count: 32)
        var count = 0
        let done = withBytes {
            EVP_Q_mac(
                nil, "HMAC", nil, "SHA256", nil, $0.baseAddress, $0.count, bytes, bytes.count, &mac,
                mac.count, &count)
        }
        guard done != nil, count == mac.count else { throw failure(of: "EVP_Q_mac") }
        return mac
    }
}

/// Overwrites memory that held something secret; the compiler cannot leave it out.
public func wipe(_ bytes: UnsafeMutableRawBufferPointer) {
    OPENSSL_cleanse(bytes.baseAddress, bytes.count)
}

/// `count` random bytes from libcrypto's generator for public values, such as salts.
public func randomBytes(count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    guard RAND_bytes(&bytes, Int32(count)) == 1 else { throw noRandomness() }
    return bytes
}

/// Compares in a time that depends on the lengths alone.
public func equalInConstantTime(_ one: UnsafeRawBufferPointer, _ other: UnsafeRawBufferPointer) -> Bool {
    one.count == other.count && CRYPTO_memcmp(one.baseAddress, other.baseAddress, one.count) == 0
}
