import COpenSSL
import Plumbing

extension Secret {
    /// scrypt (RFC 7914) of this secret.
    ///
    /// It takes 128 × `r` × (`n` + 2 + `p`) bytes of memory, of which libcrypto clears what held anything secret.
    ///
    /// - Parameters:
    ///   - n: the cost, a power of 2 below 2^(16 × `r`); who takes it from outside has put bounds to all three.
    ///   - count: bytes of output.
    /// - Throws: `unavailable` where there is not enough memory.
    public func scrypt(salt: [UInt8], n: UInt64, r: UInt64, p: UInt64, count: Int) throws -> Secret {
        let memory = 128 * r * (n + 2 + p)
        return try Secret(upTo: count) { output in
            let done = withBytes { bytes in
                EVP_PBE_scrypt(
                    bytes.assumingMemoryBound(to: CChar.self).baseAddress, bytes.count, salt, salt.count, n,
                    r, p,
                    memory, output.assumingMemoryBound(to: UInt8.self).baseAddress, count)
            }
            guard done == 1 else {
                throw Failure(
                    .unavailable, "not enough memory for scrypt, which needs \(memory >> 20) MiB",
                    hint: "close other programs, or use a machine with more memory")
            }
            return count
        }
    }
}
