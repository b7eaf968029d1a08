import Glibc
import Plumbing

/// A line on standard error that shows how far a stream has come, how fast, and how long it will still take.
///
/// It draws at most five times a second, and only on a terminal.
public struct Meter {
    private let expected: UInt64?
    private let past: UInt64
    private let start = Meter.now()
    private let visible: Bool
    private var drawn: Double = 0
    private var count: UInt64 = 0

    /// - Parameters:
    ///   - wanted: whether the person asked for it.
    ///   - expected: the stream's likely length in bytes, for the percentage and the time left.
    ///   - past: how many of these bytes went before, in other streams.
    public init(wanted: Bool, expected: UInt64?, past: UInt64 = 0) {
        self.past = past
        visible = wanted && isatty(2) == 1
        self.expected = expected.flatMap { $0 > 0 ? $0 : nil }
    }

    /// Says that the stream has come to byte `count`.
    public mutating func advance(to count: UInt64) {
        guard visible else { return }
        self.count = count
        let now = Meter.now()
        guard now - drawn >= 0.2 else { return }
        drawn = now
        draw("\r" + line(after: now - start))
    }

    /// Draws the last state and ends the line.
    public func finish() {
        guard visible, drawn > 0 else { return }
        draw("\r" + line(after: Meter.now() - start) + "\n")
    }

    private func line(after seconds: Double) -> String {
        let rate = Double(count) / max(seconds, 0.001)
        let (count, _) = past.addingReportingOverflow(count)
        var parts = [readable(bytes: count), "\(readable(bytes: UInt64(min(rate, 0x1p63))))/s"]
        if let expected {
            // An estimate may be a little short; more than all of it is never shown.
            let done = min(Double(count) / Double(expected), 1)
            parts.insert("of \(readable(bytes: expected))  \(Int(done * 100)) %", at: 1)
            let left = max(Double(expected) - Double(count), 0) / max(rate, 1)
            parts.append("ETA \(Meter.clock(left))")
        } else {
            parts.append(Meter.clock(seconds))
        }
        return "  " + parts.joined(separator: "  ") + "\u{1b}[K"
    }

    private func draw(_ text: String) {
        try? Descriptor.standardError.write(Array(text.utf8))
    }

    private static func clock(_ seconds: Double) -> String {
        let whole = Int(min(seconds, 359_999))
        let (minutes, rest) = (whole / 60, (whole % 60).padded(to: 2))
        return minutes < 60
            ? "\(minutes):\(rest)" : "\(minutes / 60):\((minutes % 60).padded(to: 2)):\(rest)"
    }

    private static func now() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}
