import DuneSeaProtocol
import DurableFiles
import Envelope
import Glibc
import HTTPTypes
import NIOCore
import OpenSSL
import Plumbing
import StoreFormat
import Synchronization

/// A blob on its way: bytes in order, each piece written before it is acknowledged.
///
/// One request at a time may append. Whoever asks for the offset, appends, or finishes takes the upload over, and the request
/// that had it gets a refusal: a client that lost its connection does not have to wait until the server notices.
final class Upload: Sendable {
    let id: String
    private let folder: Folder
    private unowned let shelf: Shelf
    private let ground: Ground
    private let turn = AsyncMutex()
    private let state: Mutex<State>

    private struct State {
        /// Open for as long as the upload lives, so that no write error goes unheard; nil until it is used.
        var file: File?
        var offset: UInt64 = 0
        /// Of the bytes up to `hashed`; behind `offset` after a restart, until the upload is finished.
        var digest: Digest?
        var hashed: UInt64 = 0
        /// Counts who took it over.
        var holder: UInt64 = 0
        var touched: Int64
        var gone = false
    }

    /// Who appends.
    struct Hold { fileprivate let number: UInt64 }

    static let window: UInt64 = 8 << 20

    static func isID(_ name: String) -> Bool { name.isHex(bytes: 16) }

    /// - Parameter folder: where its file is, by its identifier.
    init(_ id: String, in folder: Folder, on shelf: Shelf, _ ground: Ground) {
        self.id = id
        self.folder = folder
        self.shelf = shelf
        self.ground = ground
        state = Mutex(State(touched: Upload.now))
    }

    /// One that an earlier server left. Blocks.
    convenience init(resuming id: String, in folder: Folder, on shelf: Shelf, _ ground: Ground) throws {
        self.init(id, in: folder, on: shelf, ground)
        let status = try folder.open(id, O_RDONLY).status()
        state.withLock {
            $0.offset = UInt64(clamping: status.st_size)
            // The file's own clock: a restart must not make it young again.
            $0.touched = Upload.now - max(0, Int64(time(nil)) - max(0, Int64(status.st_mtim.tv_sec)))
        }
    }

    private static var now: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_BOOTTIME, &time)
        return Int64(time.tv_sec)
    }

    /// What the server has, and keeps when it is killed.
    var offset: UInt64 { state.withLock { $0.offset } }

    /// Seconds since something was appended.
    var idle: Int64 { state.withLock { Upload.now - $0.touched } }

    func create() async throws {
        try await turn.withLock { _ = try await opened(O_CREAT | O_EXCL) }
    }
}

// MARK: - Appending

extension Upload {
    /// Takes it over, to learn the offset.
    func acknowledged() async throws -> UInt64 {
        try await turn.withLock {
            _ = try hold()
            return offset
        }
    }

    /// Takes it over, to append at `start`.
    ///
    /// - Parameter announced: how many bytes, if the client says so.
    func take(at start: UInt64, announced: UInt64?) async throws -> Hold {
        let (held, refusal): (Hold, Refusal?) = try await turn.withLock {
            let held = try hold()
            guard start == offset else { throw wrongOffset("the upload is at byte \(offset), not \(start)") }
            do {
                try checkRoom(for: announced ?? 0)
                try shelf.checkRoom(for: announced ?? 0)
                return (held, nil)
            } catch let refusal as Refusal {
                return (held, refusal)
            }
        }
        if let refusal {
            try await abandon()
            throw refusal
        }
        return held
    }

    private func hold() throws -> Hold {
        try state.withLock { state in
            guard !state.gone else { throw Refusal(.notFound, "no such unfinished upload") }
            state.holder += 1
            return Hold(number: state.holder)
        }
    }

    private func wrongOffset(_ what: String) -> Refusal {
        Refusal(
            .conflict, what, hint: "continue from Upload-Offset",
            headers: [.uploadOffset: "\(offset)"])
    }

    private func checkRoom(for bytes: UInt64) throws {
        guard let limit = ground.limits.uploadBytes else { return }
        let (sum, overflow) = offset.addingReportingOverflow(bytes)
        guard !overflow, sum <= limit else {
            throw Refusal(
                .insufficientStorage, "an upload here may have at most \(limit) bytes",
                hint: "the operator of the store can allow more")
        }
    }

    /// Appends. A fault of the disk, of the room or of the bytes ends the upload.
    func append(_ parts: [ByteBuffer], holding held: Hold) async throws {
        try await turn.withLock {
            guard state.withLock({ $0.holder == held.number && !$0.gone }) else {
                throw wrongOffset("another request has taken the upload over")
            }
            do {
                let count = parts.reduce(UInt64(0)) { $0 + UInt64($1.readableBytes) }
                try checkRoom(for: count)
                try shelf.reserve(count)
                let start = offset
                do {
                    let file = try await opened()
                    let digest = try digest()
                    // Hashing takes as long as writing: both at once.
                    try await ground.onDisk {
                        try self.write(parts, to: file)
                    } meanwhile: {
                        if let digest { hash(parts, into: digest) }
                    }
                    state.withLock {
                        $0.offset = start + count
                        $0.touched = Upload.now
                    }
                } catch {
                    if offset == start { shelf.release(count) }
                    throw error
                }
            } catch {
                try? await remove()
                throw error
            }
        }
    }

    private func opened(_ flags: Int32 = 0) async throws -> File {
        if let file = state.withLock({ $0.file }) { return file }
        let (folder, id) = (folder, id)
        let file = try await ground.onDisk { try folder.file(id, O_RDWR | flags, mode: 0o600) }
        state.withLock { $0.file = file }
        return file
    }

    /// One that starts here is hashed as it comes; one from before a restart when it is finished.
    private func digest() throws -> Digest? {
        try state.withLock { state in
            if state.offset == 0 { state.digest = try Digest(.sha256) }
            return state.hashed == state.offset ? state.digest : nil
        }
    }

    private func hash(_ parts: [ByteBuffer], into digest: Digest) {
        for part in parts {
            part.withUnsafeReadableBytes { digest.update($0) }
            state.withLock { $0.hashed += UInt64(part.readableBytes) }
        }
    }

    private func write(_ parts: [ByteBuffer], to file: File) throws {
        let start = offset
        var end = start
        for part in parts {
            try part.withUnsafeReadableBytes { try file.write($0, at: end) }
            end += UInt64(part.readableBytes)
        }
        if start < UInt64(Envelope.headerLength), end >= UInt64(Envelope.headerLength) {
            try checkHeader(of: file)
        }
        try file.paceWriteBack(from: start, to: end, window: Upload.window)
    }

    private func checkHeader(of file: File) throws {
        let head = try file.read(at: 0, count: Envelope.headerLength)
        try Refusal.unlessWhole { try Framing.check(head: head, .blob, at: "upload") }
    }
}

// MARK: - Ending

extension Upload {
    /// Makes it the blob `address`, if it has that digest and `length` bytes of a sealed stream. Ends the upload, except
    /// where bytes are missing.
    ///
    /// - Returns: false where the blob was there already.
    func finish(length: UInt64, address: Address) async throws -> Bool {
        try await turn.withLock {
            _ = try hold()
            guard offset == length else {
                throw wrongOffset("the upload has \(offset) bytes, not \(length)")
            }
            do {
                let file = try await opened()
                let length = offset
                try await ground.onDisk {
                    try Refusal.unlessWhole {
                        try Framing.check(length, .blob, at: "upload") { try file.read(at: $0, count: $1) }
                    }
                }
                while try await ground.onDisk({ try self.hashMore(of: file) }) {}
                let digest = state.withLock { $0.digest?.finish() }
                guard digest == address.description else {
                    throw Shelf.otherDigest(digest ?? "of nothing", than: address)
                }
                try await ground.onDisk { try file.sync() }
                let before = try await shelf.keep(upload: id, as: address)
                end(bytes: before ?? 0)
                return before == nil
            } catch {
                try? await remove()
                throw error
            }
        }
    }

    /// Hashes the next window of what was there before a restart; false when nothing is left. In steps, so that a disk
    /// thread is never taken for long, and a client that asks again finds the work done so far.
    private func hashMore(of file: File) throws -> Bool {
        let (digest, start, end) = try state.withLock { state in
            if state.digest == nil { state.digest = try Digest(.sha256) }
            return (state.digest, state.hashed, min(state.offset, state.hashed + Upload.window))
        }
        guard let digest, start < end else { return false }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 4096)
        defer { buffer.deallocate() }
        var at = start
        while at < end {
            let count = try file.read(
                into: .init(rebasing: buffer.prefix(Int(clamping: end - at))), at: at)
            guard count > 0 else { throw file.isShorter }
            digest.update(.init(rebasing: buffer.prefix(count)))
            at += UInt64(count)
        }
        state.withLock { $0.hashed = end }
        return true
    }

    /// Removes it with its bytes.
    func abandon() async throws {
        try await turn.withLock { try await remove() }
    }

    private func remove() async throws {
        guard !state.withLock({ $0.gone }) else { return }
        end(bytes: offset)
        let (folder, id) = (folder, id)
        try await ground.onDisk { try folder.delete(id) }
    }

    private func end(bytes: UInt64) {
        state.withLock { state in
            state.gone = true
            state.file = nil
        }
        shelf.release(bytes)
        shelf.forget(self)
    }
}
