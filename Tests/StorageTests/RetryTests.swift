import Plumbing
import Synchronization
import Testing

@testable import Storage

/// A clock that a test turns: who sleeps by it is awake again at once, so much later.
final class TurnedClock: Sendable {
    private let state = Mutex((now: 1000.0, pauses: [Double]()))

    var now: Double { state.withLock { $0.now } }
    /// What was slept, in seconds.
    var pauses: [Double] { state.withLock { $0.pauses } }

    func turn(by seconds: Double) { state.withLock { $0.now += seconds } }

    var clock: RetryClock {
        RetryClock(
            now: { self.now },
            sleep: { seconds in
                self.state.withLock {
                    $0.now += seconds
                    $0.pauses.append(seconds)
                }
            })
    }
}

@Suite struct RetryPolicies {
    private let clock = TurnedClock()
    private let interruption = Interruption(failure: Failure(.unavailable, "the connection broke"))

    private func policy(patience: Double) -> RetryPolicy {
        var settings = Settings()
        settings.patience = patience
        return RetryPolicy(settings, at: "the store", clock: clock.clock)
    }

    @Test func thePausesGrowUntilThePatienceEnds() throws {
        var attempts = 0
        do {
            try policy(patience: 120).run {
                attempts += 1
                throw interruption
            }
        } catch let failure as Failure {
            #expect(failure.status == .unavailable)
            #expect(failure.place == "the store")
            #expect(failure.hint == "gave up after 120 s; run it again when the server is back")
        }
        #expect(clock.pauses.count == attempts - 1)
        #expect((0.18...0.32).contains(clock.pauses[0]))
        for (one, other) in zip(clock.pauses, clock.pauses.dropFirst()) where other < 20 {
            #expect((1.1...3.5).contains(other / one))
        }
        #expect(clock.pauses.allSatisfy { $0 <= 37.5 })
        #expect(clock.pauses.reduce(0, +) <= 120)
        #expect(clock.pauses.reduce(0, +) > 120 - 37.5)
    }

    @Test func progressGivesAllThePatienceBack() throws {
        let policy = policy(patience: 10)
        var attempts = 0
        let result = try policy.run {
            attempts += 1
            if attempts == 40 { return "done" }
            policy.progressed()
            clock.turn(by: 9)
            throw interruption
        }
        #expect(result == "done")
        // Each pause is the first again.
        #expect(clock.pauses.allSatisfy { $0 < 0.32 })
    }

    @Test func aServerThatAsksForAPauseGetsIt() throws {
        var attempts = 0
        try policy(patience: 120).run {
            attempts += 1
            if attempts == 1 { throw Interruption(failure: interruption.failure, pause: 60) }
        }
        #expect(clock.pauses == [60])
        do {
            try policy(patience: 120).run { throw Interruption(failure: interruption.failure, pause: 7200) }
        } catch let failure as Failure {
            #expect(failure.hint == "the server asks for a pause of 7200 s; run it again then")
        }
        #expect(clock.pauses == [60])
    }

    @Test func anythingElseEndsItAtOnce() {
        #expect(status { try policy(patience: 120).run { throw Failure(.denied, "no") } } == .denied)
        #expect(clock.pauses.isEmpty)
    }
}
