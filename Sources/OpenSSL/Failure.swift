import COpenSSL
import Plumbing

/// The failure of a libcrypto call that only fails for want of memory or by misuse.
func failure(of call: String) -> Failure {
    let code = ERR_get_error()
    var text = [CChar](repeating: 0, count: 256)
    ERR_error_string_n(code, &text, text.count)
    return Failure(
        .bug, "\(call) failed", at: String(decoding: text.prefix { $0 != 0 }.map(UInt8.init), as: UTF8.self))
}
