import CLinux
import DurableFiles
import Glibc
import Plumbing
import StoreFormat

/// A blob that is being written under names that no reader knows, until `commit` gives it its own.
///
/// Each staged file is locked by its living writer; `sweep` removes those of the dead.
final class StagedBlob {
    static let prefix = ".partial-"
    static let maximumParts = 1000
    /// What a file of a store gets with its name, less what the umask takes. Until then only its writer can open it, and so
    /// nobody else can hold its lock.
    static let mode: mode_t = {
        let mask = umask(0o777)
        umask(mask)
        return 0o644 & ~mask
    }()

    private let domain: Folder
    private let blobs: Folder
    private var parts: [Part] = []

    /// - Parameter domain: its lock keeps a sweep from the moment between a file's making and its locking.
    init(in blobs: Folder, of domain: Folder) throws {
        self.domain = domain
        self.blobs = blobs
        try domain.locked {
            try StagedBlob.sweep(blobs)
            parts.append(try Part(in: blobs))
        }
    }

    /// A new name for a file that is not ready.
    static func name() -> String {
        prefix + UInt64.random(in: .min ... .max).padded(to: 16, radix: 16)
    }

    /// Removes what writers that are no more have left. The caller holds the domain's lock.
    static func sweep(_ directory: Folder) throws {
        for name in try directory.names() where name.hasPrefix(prefix) {
            // For writing, as NFS wants it for an exclusive lock.
            guard let file = try? directory.open(name, O_RDWR) else { continue }
            if flock(file.number, LOCK_EX | LOCK_NB) == 0 { directory.remove(name) }
        }
    }

    /// Adds bytes; where no file may grow by them they start the next part.
    func write(_ bytes: UnsafeRawBufferPointer) throws {
        if try parts[parts.count - 1].append(bytes) { return }
        try parts[parts.count - 1].finish()
        guard parts.count < StagedBlob.maximumParts else {
            throw Failure(.io, "more than \(StagedBlob.maximumParts) parts", at: blobs.path(of: ""))
        }
        parts.append(try domain.locked { try Part(in: blobs) })
        guard try parts[parts.count - 1].append(bytes) else {
            throw Failure(
                .io, "files here cannot grow to 1 MiB", at: blobs.path(of: parts[parts.count - 1].name),
                hint: "see ulimit -f")
        }
    }

    /// Data first, then the names, then the word that it is there: after each line a crash leaves either a whole
    /// blob under its address or nothing that reads as one.
    func commit(as blob: Address) throws {
        for part in parts { try part.finish(mode: StagedBlob.mode) }
        // All of it is read for this, and others do not wait for that.
        let isThere = try parts.count > 1 && isThere(blob)
        try domain.locked {
            if parts.count == 1 {
                try commitWhole(as: blob)
            } else {
                try commitParts(as: blob, isThere: isThere)
            }
        }
        parts = []
    }

    private func commitWhole(as blob: Address) throws {
        // What has the name has the same bytes, or it is rotten: either way this one may take its place.
        try blobs.name(parts[0].name, in: blobs, as: blob.hex, taken: .replaced)
        // A reader prefers the whole file; parts of a former store are only in the way.
        try? StoredBlob.removeParts(of: blob, in: blobs)
    }

    private func commitParts(as blob: Address, isThere: Bool) throws {
        if isThere, try StoredBlob(blob, in: blobs) != nil {
            // It may be cut elsewhere than this one: mixing the two could leave neither.
            discard()
            try blobs.sync()
            return
        }
        blobs.remove(blob.hex)
        try StoredBlob.removeParts(of: blob, in: blobs)
        try blobs.sync()
        do {
            // Without its first part there is no blob, so that one comes last.
            for (index, part) in parts.enumerated().reversed() {
                if index == 0 { try blobs.sync() }
                try blobs.rename(part.name, to: StoredBlob.name(ofPart: index, of: blob))
            }
            try blobs.sync()
        } catch {
            try? StoredBlob.removeParts(of: blob, in: blobs)
            throw error
        }
    }

    /// Whether the very same bytes are there. What is of another length is not read: it may never end.
    private func isThere(_ blob: Address) throws -> Bool {
        do {
            guard let stored = try StoredBlob(blob, in: blobs) else { return false }
            return try stored.length == parts.reduce(0) { $0 + $1.length } && stored.isRight()
        } catch let failure as Failure where failure.status == .badData {
            return false
        }
    }

    /// Removes what is staged; nothing where it was committed.
    func discard() {
        for part in parts { blobs.remove(part.name) }
        parts = []
    }
}

/// One staged file, written past the page cache where the file system can do that: it is as fast as the drive, and
/// leaves the machine's memory to others.
private final class Part {
    let name: String
    private let file: File
    private(set) var length: UInt64 = 0
    private var isDirect: Bool

    init(in directory: Folder) throws {
        name = StagedBlob.name()
        let flags = O_WRONLY | O_CREAT | O_EXCL
        do {
            file = try directory.file(name, flags | linux_O_DIRECT, mode: 0o600)
            isDirect = true
        } catch {
            // Some file systems make the file, then refuse to open it so.
            directory.remove(name)
            file = try directory.file(name, flags, mode: 0o600)
            isDirect = false
        }
        guard flock(file.number, LOCK_EX | LOCK_NB) == 0 else {
            let failure = Failure.system("cannot lock", at: directory.path(of: name))
            directory.remove(name)
            throw failure
        }
    }

    /// Adds all of the bytes, or, where the file may not grow by them, none that count.
    func append(_ bytes: UnsafeRawBufferPointer) throws -> Bool {
        var done = 0
        while done < bytes.count {
            let rest = bytes.count - done
            if rest % Ring.alignment != 0, rest < Ring.alignment || done % Ring.alignment != 0 {
                leaveDirect()
            }
            let size = isDirect ? rest - rest % Ring.alignment : rest
            let count = retrying {
                pwrite(
                    file.number, bytes.baseAddress.map { $0 + done }, size,
                    off_t(clamping: length) + off_t(done))
            }
            if count > 0 {
                done += count
            } else if count < 0, errno == EFBIG {
                return false
            } else if count < 0, errno == EINVAL, isDirect {
                leaveDirect()
            } else {
                throw Failure.system("cannot write", at: file.name, errno: count == 0 ? ENOSPC : errno)
            }
        }
        let start = length
        length += UInt64(done)
        if !isDirect { try file.paceWriteBack(from: start, to: length, window: UInt64(Ring.bufferLength)) }
        return true
    }

    private func leaveDirect() {
        guard isDirect else { return }
        isDirect = false
        _ = fcntl(file.number, F_SETFL, fcntl(file.number, F_GETFL) & ~linux_O_DIRECT)
    }

    /// Cuts off what was written of bytes that did not fit, and brings the rest to stable storage.
    ///
    /// - Parameter mode: what the file gets, where its file system has modes; nil where it is to stay the writer's alone.
    func finish(mode: mode_t? = nil) throws {
        guard ftruncate(file.number, off_t(clamping: length)) == 0 else {
            throw Failure.system("cannot truncate", at: file.name)
        }
        if let mode { _ = fchmod(file.number, mode) }
        try file.sync()
    }
}
