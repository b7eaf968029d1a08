import Glibc
import Plumbing

/// Modes, owners, times, and what a symbolic link points to.
extension TreeComparison {
    func look(_ name: UnsafePointer<CChar>, in folder: Int32) throws -> stat? {
        var status = stat()
        if fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0 { return status }
        guard errno == ENOENT else { throw failure("cannot stat") }
        return nil
    }

    func open(_ name: UnsafePointer<CChar>, in folder: Int32, _ flags: Int32) throws -> Descriptor {
        let number = retrying { openat(folder, name, flags | O_NOFOLLOW | O_CLOEXEC) }
        guard number >= 0 else { throw failure("cannot open") }
        return Descriptor(owning: number, name: shown)
    }

    func inode(
        _ name: UnsafePointer<CChar>, _ original: stat, in one: Int32, _ copy: stat, in other: Int32
    ) throws {
        func octal(_ mode: mode_t) -> String { "0" + (mode & 0o7777).padded(to: 3, radix: 8) }
        if original.st_mode != copy.st_mode {
            try tell("the mode is \(octal(copy.st_mode)), not \(octal(original.st_mode))")
        }
        if (original.st_uid, original.st_gid) != (copy.st_uid, copy.st_gid) {
            try tell(
                "the owner is \(copy.st_uid):\(copy.st_gid), not \(original.st_uid):\(original.st_gid)")
        }
        let (was, now) = (original.st_mtim, copy.st_mtim)
        // Every stream makes its new files in the subvolume's root first, and need not set the root's time after the last.
        if !path.isEmpty, (was.tv_sec, was.tv_nsec) != (now.tv_sec, now.tv_nsec) {
            func text(_ time: timespec) -> String { "\(time.tv_sec).\(time.tv_nsec.padded(to: 9))" }
            try tell("the modification time is \(text(now)), not \(text(was))")
        }
        try attributes(name, one, other)
    }

    func target(of name: UnsafePointer<CChar>, in folder: Int32) throws -> [UInt8] {
        let count = readlinkat(folder, name, one.assumingMemoryBound(to: CChar.self), TreeComparison.step)
        guard count >= 0 else { throw failure("cannot read the symbolic link") }
        return Array(UnsafeRawBufferPointer(start: one, count: count))
    }

    func kind(of status: stat) -> String {
        switch status.st_mode & S_IFMT {
        case S_IFREG: "file"
        case S_IFDIR: "folder"
        case S_IFLNK: "symbolic link"
        case S_IFCHR: "character device"
        case S_IFBLK: "block device"
        case S_IFIFO: "named pipe"
        default: "socket"
        }
    }
}
