import COpenSSL
import Plumbing

/// The failure of a libcrypto call that only fails for want of memory or by misuse.
func failure(of call: String) -> Failure { Failure(.bug, "\(call) failed", at: reason()) }

/// The kernel gave libcrypto no random bytes.
func noRandomness() -> Failure { Failure(.io, "cannot get random bytes", at: reason()) }

/// What libcrypto says of its last failure.
private func reason() -> String {
    var text = [CChar](repeating: 0, count: 256)
    ERR_error_string_n(ERR_get_error(), &text, text.count)
    return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init), as: UTF8.self)
}
