import Envelope
import Glibc
import OpenSSL
import Plumbing
import StoreFormat

/// A sealed blob on its way into a store: read, checked and digested on threads of its own while the driver takes it.
///
/// The driver calls `next` until it is nil. It gets the last of the bytes, at least the whole trailer, only when the
/// stream is known to be whole; a driver that streams onwards thus never passes on the tail of a cut stream.
public final class Intake: @unchecked Sendable {
    private enum Consumer: Int, CaseIterable { case driver, sha256, sha512 }

    private let source: Descriptor
    private let ring = Ring(consumers: Consumer.allCases.count)
    private let sha256: Digest
    private let sha512: Digest
    /// The reader's, until it has been joined.
    private var framing: Framing
    private var workers: [Worker] = []
    /// The reader waits for the input and for this to close: a stalled producer must not keep a driver that has
    /// failed from saying so.
    private let cancel: Pipe
    private var lent = 0
    private var whole: Receipt?

    init(reading source: consuming Descriptor) throws {
        source.widenPipe()
        framing = Framing(.blob, at: source.name)
        self.source = source
        sha256 = try Digest(.sha256)
        sha512 = try Digest(.sha512)
        cancel = try Pipe()
    }

    /// Starts the threads and waits until the input is seen to start as a sealed blob, so that the driver makes
    /// nothing for anything else. Whatever comes of it, `stop` must follow.
    func start() throws {
        workers.append(try Worker { self.read() })
        workers.append(try Worker { self.ring.digest(into: self.sha256, as: Consumer.sha256.rawValue) })
        workers.append(try Worker { self.ring.digest(into: self.sha512, as: Consumer.sha512.rawValue) })
        try ring.waitForFirst()
    }

    /// How many runs of bytes a driver may have that it has not released.
    public static let window = Ring.window

    /// The next bytes of the blob, or nil at its end. They stay valid until they are released.
    ///
    /// Each run of bytes is 1 MiB, but for the last, in memory aligned for O_DIRECT.
    ///
    /// - Throws: `badData` where the input is no whole sealed blob; `io` where it cannot be read.
    public func next() throws -> UnsafeRawBufferPointer? {
        precondition(lent < Intake.window)
        let bytes = try ring.next(for: Consumer.driver.rawValue, keeping: lent, holdingBack: true)
        if bytes != nil { lent += 1 }
        return bytes
    }

    /// Whether `next` would not wait; known after so many seconds at most.
    ///
    /// - Throws: as `next`.
    public func isReady(within seconds: Double) throws -> Bool {
        try ring.isReady(for: Consumer.driver.rawValue, keeping: lent, holdingBack: true, within: seconds)
    }

    /// Whether it is known that nothing will come any more.
    ///
    /// - Throws: as `next`.
    public func hasEnded() throws -> Bool {
        try ring.hasEnded(for: Consumer.driver.rawValue, keeping: lent, holdingBack: true)
    }

    /// Gives back the oldest runs of bytes.
    public func release(_ count: Int = 1) {
        ring.release(count, by: Consumer.driver.rawValue)
        lent -= count
    }

    /// What was taken in; to be asked for when `next` has been nil.
    public func receipt() throws -> Receipt {
        if let whole { return whole }
        guard try ring.next(for: Consumer.driver.rawValue, keeping: lent, holdingBack: true) == nil else {
            throw Failure(.bug, "a receipt for a blob that was not read to its end", at: nil)
        }
        join()
        let receipt = Receipt(
            size: framing.length, sha256: try Address(sha256.finish()), sha512: sha512.finish())
        whole = receipt
        return receipt
    }

    /// Ends the threads; the input is not read any further.
    func stop() {
        ring.fail(Failure(.bug, "the blob was abandoned", at: source.name))
        cancel.close()
        join()
    }

    private func join() {
        for worker in workers { worker.join() }
        workers = []
    }

    // MARK: The reader's thread

    private func read() {
        do {
            while true {
                let buffer = try ring.claim()
                let count = try fill(buffer)
                if count > 0 || framing.length == 0 { try framing.add(.init(rebasing: buffer[..<count])) }
                if count > 0 { ring.publish(count) }
                if count < buffer.count { break }
            }
            ring.end()
            try framing.finish()
            ring.approve()
        } catch {
            ring.fail(error)
        }
    }

    private func fill(_ buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        var filled = 0
        while filled < buffer.count {
            var waiting = [
                pollfd(fd: source.number, events: Int16(POLLIN), revents: 0),
                pollfd(fd: cancel.output.number, events: Int16(POLLIN), revents: 0),
            ]
            guard retrying({ poll(&waiting, 2, -1) }) >= 0 else {
                throw Failure.system("cannot wait for input", at: source.name)
            }
            guard waiting[1].revents == 0 else { throw Failure(.bug, "cancelled", at: source.name) }
            let count = try source.read(into: .init(rebasing: buffer[filled...]))
            if count == 0 { break }
            filled += count
        }
        return filled
    }
}

extension Ring {
    /// A consumer that digests all that comes, to the end or a failure.
    func digest(into digest: Digest, as consumer: Int) {
        while let bytes = try? next(for: consumer) {
            digest.update(bytes)
            release(by: consumer)
        }
    }
}
