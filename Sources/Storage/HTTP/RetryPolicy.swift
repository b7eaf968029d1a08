import Glibc
import Plumbing

/// A failure for a reason that may pass: the connection broke, or the server asks for patience.
struct Interruption: Error {
    let failure: Failure
    /// For how many seconds the server wants to be left alone.
    var pause: Double = 0
}

/// The time that a policy goes by, in seconds: never set back, and a test's to turn.
struct RetryClock: Sendable {
    /// From any beginning.
    let now: @Sendable () -> Double
    let sleep: @Sendable (Double) -> Void

    /// The system's, which nobody sets.
    static let system = RetryClock(
        now: {
            var time = timespec()
            clock_gettime(CLOCK_MONOTONIC, &time)
            return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
        },
        sleep: { poll(nil, 0, Int32(clamping: Int($0 * 1000))) })
}

/// A policy around an attempt: tries again what was interrupted, with growing pauses, for as long as there is progress every
/// now and then.
final class RetryPolicy {
    private let settings: Settings
    private let place: String
    private let clock: RetryClock
    private var deadline: Double
    private var pause = RetryPolicy.shortest

    private static let shortest = 0.25
    private static let longest = 30.0

    /// - Parameters:
    ///   - settings: how many seconds may pass without progress, and who hears of what is tried again.
    ///   - place: what messages call the store.
    init(_ settings: Settings, at place: String, clock: RetryClock = .system) {
        self.settings = settings
        self.place = place
        self.clock = clock
        deadline = clock.now() + settings.patience
    }

    /// Something moved on for good: all the patience is there again.
    func progressed() {
        deadline = clock.now() + settings.patience
        pause = RetryPolicy.shortest
    }

    /// Runs `attempt` until it returns, or throws anything but an `Interruption`.
    ///
    /// - Throws: the last interruption's failure, when the patience is at its end.
    func run<Result>(_ attempt: () throws -> Result) throws -> Result {
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
        guard clock.now() + seconds < deadline else {
            throw Failure(
                failure.status, failure.what, at: failure.place ?? place,
                hint: failure.hint
                    ?? (interruption.pause > 0
                        ? "the server asks for a pause of \(Int(interruption.pause)) s; run it again then"
                        : "gave up after \(Int(settings.patience)) s; run it again when the server is back"))
        }
        settings.notify("\(failure.what): \(place): retrying in \((seconds * 10).rounded() / 10) s")
        clock.sleep(seconds)
        pause = min(pause * 2, RetryPolicy.longest)
    }
}
