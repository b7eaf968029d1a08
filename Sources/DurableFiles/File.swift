import CLinux
public import Glibc
public import Plumbing

/// An open file that is read and written by offset, by as many threads as there are. Its calls block.
public final class File: Sendable {
    private let descriptor: Descriptor

    public init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }

    public var number: Int32 { descriptor.number }
    /// How messages call it.
    public var name: String { descriptor.name }

    public func status() throws -> stat { try descriptor.status() }

    /// In bytes.
    public func length() throws -> UInt64 { UInt64(clamping: try status().st_size) }

    /// Reads until the buffer is full or the file ends; returns how many bytes there were.
    public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws -> Int {
        var done = 0
        while done < buffer.count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
            let count = retrying { pread(number, rest.baseAddress, rest.count, position(offset, done)) }
            guard count >= 0 else {
                throw Failure.system("cannot read", at: "\(name), byte \(offset)")
            }
            if count == 0 { break }
            done += count
        }
        return done
    }

    /// The bytes from an offset on, `count` of them or those that there are.
    public func read(at offset: UInt64, count: Int) throws -> [UInt8] {
        try [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            filled = try read(into: .init(buffer), at: offset)
        }
    }

    public func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws {
        var done = 0
        while done < bytes.count {
            let rest = UnsafeRawBufferPointer(rebasing: bytes[done...])
            let count = retrying { pwrite(number, rest.baseAddress, rest.count, position(offset, done)) }
            guard count > 0 else {
                throw Failure.system("cannot write", at: name, errno: count == 0 ? ENOSPC : errno)
            }
            done += count
        }
    }

    private func position(_ offset: UInt64, _ done: Int) -> off_t { off_t(clamping: offset + UInt64(done)) }

    /// The failure of a file that ends before it should.
    public var isShorter: Failure {
        .system("cannot read: the file has become shorter", at: name, errno: EIO)
    }

    /// fsync(2). Its failure is final: the kernel may have dropped the pages, so a second call would lie.
    public func sync() throws { try descriptor.sync() }

    /// Starts the write-back of each window of `window` bytes that the bytes from `start` to `end` have filled, and waits for
    /// that of the window before, so that the sync at the end finds little left to do.
    ///
    /// - Throws: an error that the write-back met: it is the file's, and fsync(2) would not say it a second time.
    public func paceWriteBack(from start: UInt64, to end: UInt64, window: UInt64) throws {
        for number in (start / window)..<(end / window) {
            try writeBack(number * window, window, linux_SYNC_WRITE)
            if number > 0 { try writeBack((number - 1) * window, window, linux_SYNC_WAIT) }
        }
    }

    private func writeBack(_ offset: UInt64, _ count: UInt64, _ flags: UInt32) throws {
        let done = retrying {
            linux_sync_file_range(number, off_t(clamping: offset), off_t(clamping: count), flags)
        }
        // Not every file system has it; the sync at the end does the same, later.
        guard done == 0 || [ENOSYS, EINVAL, ESPIPE, EOPNOTSUPP].contains(errno) else {
            throw Failure.system("cannot write", at: name)
        }
    }
}
