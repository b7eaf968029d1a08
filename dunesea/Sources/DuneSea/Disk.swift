import CLinux
import Glibc
public import Plumbing

/// A system call that failed on the store: which, where, and its error number.
public struct DiskError: Error {
    public let what: String
    public let path: String
    public let code: Int32

    init(_ what: String, _ path: String, code: Int32 = errno) {
        self.what = what
        self.path = path
        self.code = code
    }

    /// There is no room, on the file system or in its quota.
    public var isFull: Bool { code == ENOSPC || code == EDQUOT }

    public var failure: Failure { .system(what, at: path, errno: code) }
}

/// An open file. Its calls block: the server makes them on its disk threads only.
final class File: Sendable {
    let path: String
    private let descriptor: Int32

    init(_ path: String, _ flags: Int32, mode: mode_t = 0o600) throws {
        let descriptor = retrying { open(path, flags | O_CLOEXEC | O_NOFOLLOW, mode) }
        guard descriptor >= 0 else { throw DiskError("cannot open", path) }
        self.path = path
        self.descriptor = descriptor
    }

    deinit { _ = close(descriptor) }

    func status() throws -> stat {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw DiskError("cannot read", path) }
        return status
    }

    func size() throws -> UInt64 { UInt64(clamping: try status().st_size) }

    /// Reads until the buffer is full or the file ends.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws -> Int {
        try move(buffer.count, from: offset, failing: "cannot read") { done, at in
            let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
            return pread(descriptor, rest.baseAddress, rest.count, at)
        }
    }

    func read(at offset: UInt64, count: Int) throws -> [UInt8] {
        try [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            filled = try read(into: .init(buffer), at: offset)
        }
    }

    /// Brings a part of the file into the kernel's cache of it.
    func load(_ range: Range<UInt64>) throws {
        // As much as the kernel reads ahead at once. It is asked for all of it first, then waited for.
        let step: UInt64 = 128 << 10
        let starts = stride(from: range.lowerBound, to: range.upperBound, by: Int(step))
        for start in starts {
            posix_fadvise(descriptor, off_t(clamping: start), off_t(clamping: step), POSIX_FADV_WILLNEED)
        }
        for start in starts {
            guard try read(at: min(start + step, range.upperBound) - 1, count: 1).count == 1 else {
                throw isShorter
            }
        }
    }

    /// Than it was said to be.
    var isShorter: DiskError { DiskError("shorter than it was", path, code: EIO) }

    /// A descriptor of its own for the same file, which the caller closes.
    func duplicate() throws -> Int32 {
        let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0 else { throw DiskError("cannot open", path) }
        return copy
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws {
        let written = try move(bytes.count, from: offset, failing: "cannot write") { done, at in
            let rest = UnsafeRawBufferPointer(rebasing: bytes[done...])
            return pwrite(descriptor, rest.baseAddress, rest.count, at)
        }
        guard written == bytes.count else { throw DiskError("cannot write", path, code: EIO) }
    }

    /// Calls again for what is left of `count` bytes, until nothing is or nothing moves; returns how many did.
    private func move(
        _ count: Int, from offset: UInt64, failing what: String, _ call: (_ done: Int, _ at: off_t) -> Int
    ) throws -> Int {
        var done = 0
        while done < count {
            let moved = retrying { call(done, off_t(clamping: offset + UInt64(done))) }
            guard moved >= 0 else { throw DiskError(what, path) }
            if moved == 0 { break }
            done += moved
        }
        return done
    }

    /// fsync(2). Its failure is final: the kernel may have dropped the pages, so a second call would lie.
    func sync() throws {
        guard retrying({ fsync(descriptor) }) == 0 else {
            throw DiskError("cannot bring to stable storage", path)
        }
    }

    /// The same of the names in a directory.
    func syncNames() throws {
        if retrying({ fsync(descriptor) }) == 0 { return }
        // A file system that has no such thing for directories may still be synced whole.
        guard errno == EINVAL, linux_syncfs(descriptor) == 0 else {
            throw DiskError("cannot bring to stable storage", path)
        }
    }

    /// Starts the write-back of `[start, end)` and waits for that of the `end - start` bytes before: no more than two such
    /// windows are ever dirty, and the sync at the end is short.
    func writeBack(from start: UInt64, to end: UInt64) throws {
        let length = off_t(clamping: end - start)
        try startOrWait(off_t(clamping: start), length, linux_SYNC_WRITE)
        if start >= end - start {
            try startOrWait(off_t(clamping: start) - length, length, linux_SYNC_WAIT)
        }
    }

    private func startOrWait(_ offset: off_t, _ length: off_t, _ flags: UInt32) throws {
        let done = retrying { linux_sync_file_range(descriptor, offset, length, flags) }
        // Not every file system has it; the sync at the end does the same, later.
        guard done == 0 || [ENOSYS, EINVAL, ESPIPE, EOPNOTSUPP].contains(errno) else {
            throw DiskError("cannot bring to stable storage", path)
        }
    }

}

/// Names in directories; the calls block too.
enum Directory {
    /// The names in it, in no order, without those that start with a dot.
    static func names(_ path: String) throws -> [String] {
        guard let stream = opendir(path) else { throw DiskError("cannot list", path) }
        defer { closedir(stream) }
        var names: [String] = []
        errno = 0
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if !name.hasPrefix(".") { names.append(name) }
            errno = 0
        }
        guard errno == 0 else { throw DiskError("cannot list", path) }
        return names
    }

    /// Makes it where it is not there yet. Its name is durable only after a `sync` of the directory above.
    static func make(_ path: String, mode: mode_t = 0o700) throws {
        guard mkdir(path, mode) == 0 || errno == EEXIST else { throw DiskError("cannot make", path) }
    }

    /// Brings the names in it to stable storage; like every sync, never to be tried again.
    static func sync(_ path: String) throws {
        try File(path, O_RDONLY | O_DIRECTORY).syncNames()
    }

    /// Moves a file; a file that has the new name goes.
    static func rename(_ from: String, _ to: String) throws {
        guard Glibc.rename(from, to) == 0 else { throw DiskError("cannot name", to) }
    }

    /// Moves a file to a name that nothing has. Not every file system can refuse by itself: the caller is alone with the
    /// directory.
    static func rename(_ from: String, toNew to: String) throws {
        if linux_rename_new(AT_FDCWD, from, AT_FDCWD, to) == 0 { return }
        guard [EINVAL, ENOSYS, ENOTSUP].contains(errno) else { throw DiskError("cannot name", to) }
        guard try size(to) == nil else { throw DiskError("cannot name", to, code: EEXIST) }
        try rename(from, to)
    }

    /// Removes a file, if it is there.
    static func remove(_ path: String) throws {
        guard unlink(path) == 0 || errno == ENOENT else { throw DiskError("cannot remove", path) }
    }

    /// The length of the regular file of that name; nil where there is none.
    static func size(_ path: String) throws -> UInt64? {
        var status = stat()
        guard lstat(path, &status) == 0 else {
            if errno == ENOENT { return nil }
            throw DiskError("cannot read", path)
        }
        return status.st_mode & S_IFMT == S_IFREG ? UInt64(clamping: status.st_size) : nil
    }
}
