import Plumbing

/// The newest bytes of an upload, kept until the server has acknowledged them; the body of the requests that carry them.
///
/// One request takes what comes, for as long as the server acknowledges it on the way. Where it does not, and where the
/// producer pauses, the request ends, and the next one goes on.
final class Window: Body {
    private let blob: Intake
    private let policy: RetryPolicy
    private let place: String
    /// Whether the server acknowledges bytes in the middle of a request.
    let isReported: Bool

    private var runs: [UnsafeRawBufferPointer] = []
    /// Where in the blob the oldest of the runs starts, and the newest ends.
    private var start: UInt64 = 0
    private(set) var end: UInt64 = 0
    /// Up to where the server has said that it has the blob, and the furthest that it ever said.
    private(set) var acknowledged: UInt64 = 0
    private var furthest: UInt64 = 0
    /// Where the request began, and how far it got.
    private var origin: UInt64 = 0
    private var sent: UInt64 = 0
    /// The furthest that any request got.
    private var mostSent: UInt64 = 0

    init(of blob: Intake, _ policy: RetryPolicy, at place: String, isReported: Bool) {
        self.blob = blob
        self.policy = policy
        self.place = place
        self.isReported = isReported
    }

    /// Waits until there are bytes that the server does not have; false where there will be none.
    func fill() throws -> Bool {
        if acknowledged < end { return true }
        guard try takeNext() else { return false }
        // The time that the bytes took to come was not the server's.
        policy.progressed()
        return true
    }

    private func takeNext() throws -> Bool {
        guard let run = try blob.next() else { return false }
        runs.append(run)
        end += UInt64(run.count)
        return true
    }

    /// A new request goes on from what the server has.
    func begin() {
        origin = acknowledged
        sent = acknowledged
    }

    // MARK: Body

    var length: Int? { nil }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int? {
        if sent == end {
            guard runs.count < Intake.window else { return try isReported && !blob.hasEnded() ? nil : 0 }
            guard try blob.isReady(within: 0.2), try takeNext() else { return 0 }
        }
        var filled = copy(to: buffer)
        // What is read here at once goes as one chunk.
        while filled < buffer.count, runs.count < Intake.window, try blob.isReady(within: 0), try takeNext() {
            filled += copy(to: .init(rebasing: buffer[filled...]))
        }
        return filled
    }

    /// Copies what has not been sent, as far as there is some, and room for it.
    private func copy(to buffer: UnsafeMutableRawBufferPointer) -> Int {
        var filled = 0
        var first = start
        for run in runs {
            let next = first + UInt64(run.count)
            if sent < next {
                let rest = run[Int(sent - first)...].prefix(buffer.count - filled)
                UnsafeMutableRawBufferPointer(rebasing: buffer[filled...])
                    .copyMemory(from: .init(rebasing: rest))
                filled += rest.count
                sent += UInt64(rest.count)
            }
            if sent < next { break }
            first = next
        }
        mostSent = max(mostSent, sent)
        return filled
    }

    func rewind() -> Bool {
        guard origin >= start else { return false }
        sent = origin
        return true
    }

    @discardableResult
    func acknowledge(_ offset: UInt64) throws -> Bool {
        guard offset <= mostSent else {
            throw Failure(
                .io, "the server has \(offset) bytes, but was sent only \(mostSent)", at: place,
                hint: "it has others than these; run it again from the start")
        }
        guard offset >= start else {
            throw Failure(
                .io, "the server has only \(offset) bytes, but had acknowledged \(acknowledged)", at: place,
                hint: "it lost some; run it again from the start")
        }
        acknowledged = offset
        // What an earlier request sent may come to be known in the middle of this one.
        sent = max(sent, offset)
        let isNew = offset > furthest
        if isNew { policy.progressed() }
        furthest = max(furthest, offset)
        while let oldest = runs.first, start + UInt64(oldest.count) <= offset {
            start += UInt64(oldest.count)
            runs.removeFirst()
            blob.release()
        }
        return isNew
    }
}
