import CZstd
import Glibc
import Plumbing

/// Compresses a stream, on threads of its own, into zstd frames (RFC 8878): one for each piece, in order.
///
/// Pieces go in by `room` and `submit`, frames come out by `take`. As many may be under way as there is room for: about
/// 2 MiB for each of the threads, and for two more. A piece that zstd cannot make smaller passes at the speed of memory, and
/// becomes longer by a few bytes.
///
/// All calls come from one thread, and the last is `end`.
public final class Compressor: @unchecked Sendable {
    /// The most bytes of a piece; so a reader needs no more for its window.
    public static let pieceLength = 1 << 20
    /// More would wait for whoever makes the pieces and for whoever takes the frames.
    private static let mostThreads = 2

    private struct Slot {
        let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: pieceLength, alignment: 4096)
        let frame = UnsafeMutableRawBufferPointer.allocate(
            byteCount: ZSTD_compressBound(pieceLength), alignment: 4096)
        var length = 0
        /// Of the frame, once it is made.
        var made: Result<Int, Failure>?
    }

    private let level: Int32
    private var workers: [Worker] = []
    private let monitor = Monitor()
    /// What the threads wait for, and what `take` does.
    private let submission: Condition
    private let completion: Condition

    // All below is guarded by the monitor. The counts are of pieces.
    private var slots: [Slot]
    private var submitted = 0
    private var begun = 0
    private var taken = 0
    private var isOver = false

    /// - Parameter level: as zstd counts them, 1 for fast to 19 for small.
    /// - Throws: what starting a thread throws.
    public init(level: Int) throws {
        self.level = Int32(level)
        let threads = max(1, min(Compressor.mostThreads, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
        (submission, completion) = (Condition(of: monitor), Condition(of: monitor))
        slots = (0..<threads + 2).map { _ in Slot() }
        do {
            for _ in 0..<threads { workers.append(try Worker { [self] in work() }) }
        } catch {
            end()
            throw error
        }
    }

    deinit {
        for slot in slots {
            slot.piece.deallocate()
            slot.frame.deallocate()
        }
    }

    /// Where the next piece goes; nil as long as a frame has to be taken first.
    public var room: UnsafeMutableRawBufferPointer? {
        monitor.locked { submitted - taken < slots.count ? slots[submitted % slots.count].piece : nil }
    }

    /// Compresses the first `count` bytes of `room`, at least one.
    public func submit(_ count: Int) {
        monitor.locked {
            slots[submitted % slots.count].length = count
            slots[submitted % slots.count].made = nil
            submitted += 1
            submission.signal()
        }
    }

    /// Waits for the frame of the oldest piece that is under way, and calls with it.
    ///
    /// - Returns: whether there was one.
    /// - Throws: what the closure throws; `bug` where there was no memory.
    public func take(_ use: (UnsafeRawBufferPointer) throws -> Void) throws -> Bool {
        let frame = try monitor.locked { () -> UnsafeRawBufferPointer? in
            guard taken < submitted else { return nil }
            while true {
                let slot = slots[taken % slots.count]
                if let made = slot.made { return try .init(rebasing: slot.frame[..<made.get()]) }
                completion.wait()
            }
        }
        guard let frame else { return false }
        try use(frame)
        monitor.locked { taken += 1 }
        return true
    }

    /// Ends the threads; what is under way is lost.
    public func end() {
        monitor.locked {
            isOver = true
            submission.broadcast()
        }
        for worker in workers { worker.join() }
    }

    private func work() {
        let context = ZSTD_createCCtx()
        defer { ZSTD_freeCCtx(context) }
        if let context { configure(context) }
        while let (turn, slot) = next() {
            let made = Result { () throws(Failure) in try compress(slot, by: context) }
            monitor.locked {
                slots[turn].made = made
                completion.signal()
            }
        }
    }

    /// The length of the frame that it makes of the slot's piece.
    private func compress(_ slot: Slot, by context: OpaquePointer?) throws(Failure) -> Int {
        guard let context else { throw Failure(.bug, "ZSTD_createCCtx failed") }
        let length = ZSTD_compress2(
            context, slot.frame.baseAddress, slot.frame.count, slot.piece.baseAddress, slot.length)
        guard ZSTD_isError(length) == 0 else {
            throw Failure(.bug, "ZSTD_compress2 failed", at: name(of: length))
        }
        return length
    }

    private func configure(_ context: OpaquePointer) {
        ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level)
        // Its own tables from level 7 on take 12 to 18 MiB; for a piece of 1 MiB these take 4 at most, are quicker, and make
        // it no larger than by one hundredth.
        guard level > 6 else { return }
        ZSTD_CCtx_setParameter(context, ZSTD_c_chainLog, 19)
        ZSTD_CCtx_setParameter(context, ZSTD_c_hashLog, 18)
    }

    /// The next piece, for the thread that asks; nil at the end.
    private func next() -> (Int, Slot)? {
        monitor.locked {
            while !isOver {
                if begun < submitted {
                    begun += 1
                    let turn = (begun - 1) % slots.count
                    return (turn, slots[turn])
                }
                submission.wait()
            }
            return nil
        }
    }
}

/// What zstd calls an error.
func name(of error: Int) -> String { String(cString: ZSTD_getErrorName(error)) }
