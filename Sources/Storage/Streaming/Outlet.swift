import Envelope
import OpenSSL
import Plumbing
import StoreFormat

/// A blob on its way out of a store: the driver adds bytes, threads digest and write them.
///
/// The last of the bytes, at least the whole trailer, go only when all that was expected has checked out: whoever
/// reads a damaged blob sees a cut stream.
public final class Outlet: @unchecked Sendable {
    private enum Consumer: Int { case writer, sha256, sha512 }

    private let sink: Descriptor
    private let blob: Address
    private let size: UInt64?
    private let sha512: String?
    private let ring: Ring
    private let digest256: Digest
    private let digest512: Digest?
    private var framing: Framing
    private var writer: Worker?
    private var digesters: [Worker] = []
    private var current: UnsafeMutableRawBufferPointer?
    private var filled = 0

    /// - Parameters:
    ///   - size: the length in bytes that the blob must have, where it is known.
    ///   - sha512: the SHA-512 that it must have, where it is known.
    init(to sink: consuming Descriptor, expecting blob: Address, size: UInt64?, sha512: String?) throws {
        sink.widenPipe()
        self.sink = sink
        self.blob = blob
        self.size = size
        self.sha512 = sha512
        ring = Ring(consumers: sha512 == nil ? 2 : 3)
        digest256 = try Digest(.sha256)
        digest512 = try sha512.map { _ in try Digest(.sha512) }
        framing = Framing(.blob, at: "blob \(blob)")
    }

    /// Starts the threads. Whatever comes of it, `stop` must follow.
    func start() throws {
        writer = try Worker { self.write() }
        digesters.append(
            try Worker { self.ring.digest(into: self.digest256, as: Consumer.sha256.rawValue) })
        if let digest512 {
            digesters.append(try Worker { self.ring.digest(into: digest512, as: Consumer.sha512.rawValue) })
        }
    }

    /// Adds bytes: `produce` puts some into the memory it is given, and returns how many; 0 adds none.
    ///
    /// - Returns: what `produce` returned.
    /// - Throws: what `produce` throws; `badData` where the blob is not what was expected; `io` where the sink failed.
    @discardableResult
    public func add(_ produce: (UnsafeMutableRawBufferPointer) throws -> Int) throws -> Int {
        let buffer = try current ?? ring.claim()
        current = buffer
        let count = try produce(.init(rebasing: buffer[filled...]))
        filled += count
        if filled == buffer.count { try publish() }
        return count
    }

    private func publish() throws {
        guard let buffer = current, filled > 0 else { return }
        try framing.add(.init(rebasing: buffer[..<filled]))
        if let size, framing.length > size { throw wrong("longer than the expected \(size) bytes") }
        ring.publish(filled)
        current = nil
        filled = 0
    }

    /// The driver has added all: checks the whole, then lets the tail go.
    func finish() throws {
        try publish()
        ring.end()
        for digester in digesters { digester.join() }
        digesters = []
        try ring.check()
        try framing.finish()
        if let size, framing.length != size {
            throw wrong("\(framing.length) bytes, not the expected \(size)")
        }
        guard digest256.finish() == blob.hex else { throw wrong("its SHA-256 does not match its name") }
        if let digest512, digest512.finish() != sha512 {
            throw wrong("its SHA-512 does not match the expected one")
        }
        ring.approve()
        writer?.join()
        writer = nil
        try ring.check()
    }

    /// Ends the threads; what is held back stays unwritten.
    func stop() {
        ring.fail(Failure(.bug, "the blob was abandoned", at: "blob \(blob)"))
        for digester in digesters { digester.join() }
        digesters = []
        writer?.join()
        writer = nil
    }

    private func wrong(_ what: String) -> Failure {
        Failure(
            .badData, "the stored blob is damaged: \(what)", at: "blob \(blob)",
            hint: "its last bytes were held back, so no reader takes it for whole")
    }

    private func write() {
        do {
            let consumer = Consumer.writer.rawValue
            while let bytes = try ring.next(for: consumer, holdingBack: true) {
                try sink.write(bytes)
                ring.release(by: consumer)
            }
        } catch {
            ring.fail(error)
        }
    }
}
