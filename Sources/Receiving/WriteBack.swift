import CLinux
import Glibc
import Plumbing

/// Has the data of files written to the disk while more comes in, on a thread of its own: otherwise nearly all of it would be
/// left to the sync at the end, and until then the disk would have little to do.
///
/// It is a beginning, and may be left out for a file; that sync is what counts. The last call is `end`.
final class WriteBack: @unchecked Sendable {
    /// A file is begun with when it has so much new data, in bytes, or when the next file comes.
    static let step = 16 << 20
    /// How many files may wait. Where the disk is slower than that, more would not make it faster.
    private static let most = 64

    private var worker: Worker?
    private let monitor: Monitor
    private let changed: Condition

    // All below is guarded by the monitor.
    private var waiting: [Int32] = []
    private var isOver = false
    private var failure: Failure?

    init() {
        monitor = Monitor()
        changed = Condition(of: monitor)
    }

    /// Begins with a file, whose descriptor it takes over.
    func take(_ file: Int32) throws {
        let isTaken = monitor.locked {
            guard waiting.count < WriteBack.most else { return false }
            waiting.append(file)
            changed.signal()
            return true
        }
        if !isTaken { close(file) }
        if worker == nil { worker = try Worker { [self] in work() } }
    }

    /// Ends the thread.
    ///
    /// - Throws: what went wrong.
    func end() throws {
        monitor.locked {
            isOver = true
            changed.signal()
        }
        worker?.join()
        worker = nil
        if let failure { throw failure }
    }

    private func work() {
        while let file = next() {
            if retrying({ linux_sync_file_range(file, 0, 0, linux_SYNC_WRITE) }) != 0 {
                let failure = Failure.system("cannot write what was received", at: nil)
                monitor.locked { self.failure = self.failure ?? failure }
            }
            close(file)
        }
    }

    private func next() -> Int32? {
        monitor.locked {
            while waiting.isEmpty, !isOver { changed.wait() }
            return waiting.isEmpty ? nil : waiting.removeFirst()
        }
    }
}
