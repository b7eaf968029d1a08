import Glibc
import Plumbing

/// A ring of page-aligned buffers between one producer and a few consumers, each on a thread of its own.
///
/// A buffer has one owner at a time. `claim` gives it to the producer; `publish` takes it from there and shows it,
/// read-only, to every consumer; when the last of them has called `release`, it may be claimed again. Nobody may
/// touch the bytes outside that turn. Every buffer that is published is full, but for the last.
///
/// The tail is the commit: a consumer that asks with `holdingBack` sees the last two buffers, and with them every
/// byte of a stream's trailer, only after `approve`.
final class Ring: @unchecked Sendable {
    static let bufferLength = 1 << 20
    /// Two are held back; one is at work at the producer's end, and three are a driver's, or take up the unevenness of
    /// its disk.
    static let bufferCount = 6
    /// What O_DIRECT asks for on every disk that we know.
    static let alignment = 4096
    private static let heldBack = 2
    /// How many buffers a consumer that is held back may keep at once.
    static let window = bufferCount - heldBack - 1

    private let memory: UnsafeMutableRawPointer
    private let monitor = Monitor()
    /// What consumers wait for, and what the producer does: whoever waits for the one is not woken for the other.
    private let published: Condition
    private let freed: Condition

    // All below is guarded by the monitor.
    private var lengths = [Int](repeating: 0, count: Ring.bufferCount)
    private var count = 0
    /// For each consumer: how many buffers it has given back.
    private var released: [Int]
    private var ended = false
    private var approved = false
    private var failure: (any Error)?

    init(consumers: Int) {
        memory = .allocate(byteCount: Ring.bufferCount * Ring.bufferLength, alignment: Ring.alignment)
        released = .init(repeating: 0, count: consumers)
        (published, freed) = (Condition(of: monitor), Condition(of: monitor))
    }

    deinit { memory.deallocate() }

    // MARK: The producer's side

    /// The next free buffer; waits until there is one.
    ///
    /// - Throws: what anybody gave to `fail`.
    func claim() throws -> UnsafeMutableRawBufferPointer {
        try monitor.locked {
            while failure == nil, count - (released.min() ?? count) == Ring.bufferCount {
                freed.wait()
            }
            if let failure { throw failure }
            return buffer(count)
        }
    }

    /// Shows the claimed buffer's first `length` bytes, at least one, to the consumers.
    func publish(_ length: Int) {
        monitor.locked {
            lengths[count % Ring.bufferCount] = length
            count += 1
            published.broadcast()
        }
    }

    /// Nothing will be published any more.
    func end() {
        monitor.locked {
            ended = true
            published.broadcast()
        }
    }

    /// The whole stream has checked out: the buffers held back may go too. Comes after `end`.
    func approve() {
        monitor.locked {
            approved = true
            published.broadcast()
        }
    }

    // MARK: A consumer's side

    /// Waits until something is published, without taking it.
    ///
    /// - Throws: what anybody gave to `fail`.
    func waitForFirst() throws {
        try monitor.locked {
            while failure == nil, count == 0, !ended { published.wait() }
            if let failure { throw failure }
        }
    }

    /// Waits until `next` would not wait, for so many seconds at most, and says whether it would not.
    ///
    /// - Throws: what anybody gave to `fail`.
    func isReady(for consumer: Int, keeping kept: Int, holdingBack: Bool, within seconds: Double) throws
        -> Bool
    {
        var deadline = timespec()
        clock_gettime(CLOCK_REALTIME, &deadline)
        let nanoseconds = deadline.tv_nsec + Int(seconds * 1e9)
        deadline.tv_sec += nanoseconds / 1_000_000_000
        deadline.tv_nsec = nanoseconds % 1_000_000_000
        return try monitor.locked {
            while true {
                if let failure { throw failure }
                if state(of: released[consumer] + kept, holdingBack: holdingBack) != .pending { return true }
                if !published.wait(until: deadline) { return false }
            }
        }
    }

    /// Whether `next` would be nil now.
    ///
    /// - Throws: what anybody gave to `fail`.
    func hasEnded(for consumer: Int, keeping kept: Int, holdingBack: Bool) throws -> Bool {
        try monitor.locked {
            if let failure { throw failure }
            return state(of: released[consumer] + kept, holdingBack: holdingBack) == .none
        }
    }

    /// The next buffer for a consumer, or nil at the end; waits until there is one.
    ///
    /// - Parameter kept: how many buffers the consumer has and has not released.
    /// - Throws: what anybody gave to `fail`.
    func next(for consumer: Int, keeping kept: Int = 0, holdingBack: Bool = false) throws
        -> UnsafeRawBufferPointer?
    {
        try monitor.locked {
            let turn = released[consumer] + kept
            while true {
                if let failure { throw failure }
                switch state(of: turn, holdingBack: holdingBack) {
                case .there: return .init(rebasing: buffer(turn)[..<lengths[turn % Ring.bufferCount]])
                case .none: return nil
                case .pending: published.wait()
                }
            }
        }
    }

    private enum State { case there, none, pending }

    private func state(of turn: Int, holdingBack: Bool) -> State {
        if count > turn + (holdingBack && !approved ? Ring.heldBack : 0) { return .there }
        return turn == count && (holdingBack ? approved : ended) ? .none : .pending
    }

    /// Gives back the oldest buffers that `next` gave.
    func release(_ count: Int = 1, by consumer: Int) {
        monitor.locked {
            let before = released.min()
            released[consumer] += count
            if released.min() != before { freed.signal() }
        }
    }

    // MARK: Anybody's

    /// - Throws: what anybody gave to `fail`.
    func check() throws {
        try monitor.locked { if let failure { throw failure } }
    }

    /// Ends it for everyone; the first failure stays.
    func fail(_ error: any Error) {
        monitor.locked {
            failure = failure ?? error
            published.broadcast()
            freed.broadcast()
        }
    }

    private func buffer(_ turn: Int) -> UnsafeMutableRawBufferPointer {
        .init(
            start: memory + turn % Ring.bufferCount * Ring.bufferLength, count: Ring.bufferLength)
    }
}
