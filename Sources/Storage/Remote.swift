import Glibc
import Plumbing

/// How a store elsewhere is reached, who we are to it, and for how long it may stay away.
public struct Remote: Sendable {
    /// The file with the token alone on a line; nil takes the environment's `DUNESEA_TOKEN`.
    public var tokenFile: String?
    /// A file of certificates (PEM) that are trusted in place of the system's.
    public var authority: String?
    /// The server's public key as `sha256//` and the base64 of its SHA-256; alone it takes the place of a certificate
    /// that can be verified.
    public var pin: String?
    /// Lets a token and sealed bytes go over plain HTTP to another machine.
    public var isInsecure = false
    /// The seconds without any progress after which a transfer, or the wait for a lock, is given up.
    public var patience: Double = 120
    /// Hears of each failure that is tried again.
    public var notify: @Sendable (String) -> Void = { _ in }

    public init() {}

    /// The seconds for which nothing needs to move on a connection.
    var stall: Double { min(30, patience / 4) }

    /// - Throws: `usage` where there is no token; `badData` where it cannot be one.
    func token(for place: String) throws -> String {
        let text: String
        if let tokenFile {
            let bytes = try Descriptor.file(at: tokenFile).readAll(limit: 64 << 10)
            text = String(decoding: bytes, as: UTF8.self)
        } else if let variable = getenv("DUNESEA_TOKEN") {
            text = String(cString: variable)
        } else {
            throw Failure(
                .usage, "no token", at: place,
                hint: "put it into a file for --token-file, or into the environment as DUNESEA_TOKEN")
        }
        let words = text.split(whereSeparator: \.isWhitespace)
        guard words.count == 1, words[0].utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else {
            throw Failure(
                .badData, "not a token", at: tokenFile ?? "DUNESEA_TOKEN",
                hint: "it is one word, as dunesea token add printed it")
        }
        return String(words[0])
    }
}

/// A failure for a reason that may pass: the connection broke, or the server asks for patience.
struct Interruption: Error {
    let failure: Failure
    /// For how many seconds the server wants to be left alone.
    var pause: Double = 0
}

/// Tries again what was interrupted, with growing pauses, for as long as there is progress every now and then.
final class Patience {
    private let remote: Remote
    private let place: String
    private var deadline: Double
    private var pause = Patience.shortest

    private static let shortest = 0.25
    private static let longest = 30.0

    init(_ remote: Remote, at place: String) {
        self.remote = remote
        self.place = place
        deadline = monotonicSeconds() + remote.patience
    }

    /// Something moved on for good: all the patience is there again.
    func progressed() {
        deadline = monotonicSeconds() + remote.patience
        pause = Patience.shortest
    }

    /// Runs `attempt` until it returns, or throws anything but an `Interruption`.
    ///
    /// - Throws: the last interruption's failure, when the patience is at its end.
    func persist<Result>(_ attempt: () throws -> Result) throws -> Result {
        while true {
            do {
                return try attempt()
            } catch let interruption as Interruption {
                try wait(after: interruption)
            }
        }
    }

    private func wait(after interruption: Interruption) throws {
        let failure = interruption.failure
        // Clients that lost one server together should not come back together.
        let seconds = max(interruption.pause, pause * Double.random(in: 0.75...1.25))
        guard monotonicSeconds() + seconds < deadline else {
            throw Failure(
                failure.status, failure.what, at: place,
                hint: failure.hint
                    ?? (interruption.pause > 0
                        ? "it asks to be left alone for \(Int(interruption.pause)) s; run it again then"
                        : "given up after \(Int(remote.patience)) s; run it again when the server is back"))
        }
        remote.notify("\(failure.what): \(place): trying again in \((seconds * 10).rounded() / 10) s")
        poll(nil, 0, Int32(seconds * 1000))
        pause = min(pause * 2, Patience.longest)
    }
}

/// Of a clock that nobody sets.
func monotonicSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}
