import Hummingbird

/// A request as the log tells it, on one line, whatever a client sends.
struct AccessLogEntry {
    private let began = ContinuousClock.now
    private let what: String

    init(_ request: Request, _ context: Connection) {
        let uri = request.uri.string.utf8.prefix(300).map {
            (0x21...0x7e).contains($0) ? $0 : UInt8(ascii: "?")
        }
        what = "\(context.peer) \(request.method.rawValue) \(String(decoding: uri, as: UTF8.self))"
    }

    /// How it ended, and how long it took until now.
    func line(_ outcome: String) -> String {
        let taken = (ContinuousClock.now - began).components
        return "\(what) \(outcome) \(taken.seconds * 1000 + taken.attoseconds / 1_000_000_000_000_000)ms"
    }
}
