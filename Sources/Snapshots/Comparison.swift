import CLinux
import Glibc
public import JSON
import Plumbing

/// How two subvolumes compared.
public struct Likeness: Equatable, Sendable {
    /// Names: of files, folders, links and all else.
    public var entries: UInt64 = 0
    /// Regular files, each counted once, however many names it has.
    public var files: UInt64 = 0
    /// What these files hold, holes included.
    public var bytes: UInt64 = 0
    /// Bytes that are a hole on one side and zeros on the other.
    public var filledHoles: UInt64 = 0
    public var differences: UInt64 = 0

    public var record: JSON {
        .object(
            [
                ("entries", entries), ("files", files), ("bytes", bytes), ("filledHoles", filledHoles),
                ("differences", differences),
            ].map { .init($0, .integer(Int64(clamping: $1))) })
    }
}

/// Compares a subvolume with its copy: names, kinds, modes, owners, times of modification, extended attributes and so
/// ACLs, symbolic links, device numbers, which names are one file, content, and where it has holes.
///
/// Subvolumes inside are left out, as `btrfs send` leaves them out, and so are our own snapshots. Memory grows with the
/// depth of the folders and with the count of files that have names not yet met, not with the count of files.
///
/// - Parameters:
///   - allowingFilledHoles: whether zeros in place of a hole are no difference. An incremental stream of protocol 1
///     brings a hole that is new in an old file as zeros.
///   - differs: called with each difference: the path below the subvolume, fit for a terminal, and what it is.
///   - progress: called with the count of bytes of content that were compared, now and then.
public func compare(
    _ original: borrowing Subvolume, with copy: borrowing Subvolume, allowingFilledHoles: Bool,
    differs: @escaping (String) throws -> Void, progress: @escaping (UInt64) -> Void
) throws -> Likeness {
    allowManyDescriptors()
    let comparison = Comparison(
        allowingFilledHoles: allowingFilledHoles, differs: differs, progress: progress)
    let (one, other) = (original.directory.number, copy.directory.number)
    try comparison.roots(one, other)
    return comparison.likeness
}

private final class Comparison {
    /// What is compared at once; no list of attributes, attribute or link is longer.
    private static let step = 1 << 20

    private(set) var likeness = Likeness()
    private let allowingFilledHoles: Bool
    private let differs: (String) throws -> Void
    private let progress: (UInt64) -> Void
    private var path: [UInt8] = []
    private var devices: (dev_t, dev_t) = (0, 0)
    /// Of files with several names: the copy's inode number, and how many names have not been met.
    private var links: [ino_t: (copy: ino_t, left: UInt64)] = [:]
    private let one = UnsafeMutableRawPointer.allocate(byteCount: step, alignment: 4096)
    private let other = UnsafeMutableRawPointer.allocate(byteCount: step, alignment: 4096)

    init(
        allowingFilledHoles: Bool, differs: @escaping (String) throws -> Void,
        progress: @escaping (UInt64) -> Void
    ) {
        self.allowingFilledHoles = allowingFilledHoles
        self.differs = differs
        self.progress = progress
    }

    deinit {
        one.deallocate()
        other.deallocate()
    }

    func roots(_ one: Int32, _ other: Int32) throws {
        guard let original = try look(".", in: one), let copy = try look(".", in: other) else { return }
        devices = (original.st_dev, copy.st_dev)
        try inode(".", original, in: one, copy, in: other)
        try folder(one, other)
    }
}

// MARK: - Names

extension Comparison {
    private func folder(_ one: Int32, _ other: Int32) throws {
        try names(in: other) { name in
            guard let copy = try look(name, in: other), !isLeftOut(name, copy, on: devices.1) else { return }
            guard try look(name, in: one) == nil else { return }
            try at(name) { try tell("is not in the original") }
        }
        try names(in: one) { name in
            guard let original = try look(name, in: one), !isLeftOut(name, original, on: devices.0) else {
                return
            }
            try at(name) {
                likeness.entries += 1
                guard let copy = try look(name, in: other), !isLeftOut(name, copy, on: devices.1) else {
                    return try tell("is missing")
                }
                guard original.st_mode & S_IFMT == copy.st_mode & S_IFMT else {
                    return try tell("is a \(kind(of: copy)), not a \(kind(of: original))")
                }
                try entry(name, original, in: one, copy, in: other)
            }
        }
    }

    private func entry(
        _ name: UnsafePointer<CChar>, _ original: stat, in one: Int32, _ copy: stat, in other: Int32
    ) throws {
        if original.st_mode & S_IFMT == S_IFDIR {
            try inode(name, original, in: one, copy, in: other)
            let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW
            let from = try open(name, in: one, flags)
            let to = try open(name, in: other, flags)
            return try folder(from.number, to.number)
        }
        guard try isNew(original, copy) else { return }
        try inode(name, original, in: one, copy, in: other)
        switch original.st_mode & S_IFMT {
        case S_IFREG:
            likeness.files += 1
            try content(name, original, in: one, copy, in: other)
        case S_IFLNK:
            guard try target(of: name, in: one) != target(of: name, in: other) else { return }
            try tell("the symbolic link points elsewhere")
        case S_IFCHR, S_IFBLK:
            guard original.st_rdev != copy.st_rdev else { return }
            try tell("the device is another")
        default: break
        }
    }

    /// Whether these two have not been compared under another name. Where every file has as many names as before, and
    /// none of its names became another file, no two files became one either.
    private func isNew(_ original: stat, _ copy: stat) throws -> Bool {
        if original.st_nlink != copy.st_nlink {
            try tell("has \(copy.st_nlink) names, not \(original.st_nlink)")
        }
        guard let known = links[original.st_ino] else {
            if original.st_nlink > 1 {
                links[original.st_ino] = (copy.st_ino, UInt64(original.st_nlink) - 1)
            }
            return true
        }
        links[original.st_ino] = known.left > 1 ? (known.copy, known.left - 1) : nil
        if known.copy != copy.st_ino { try tell("is no longer one file with its other names") }
        return known.copy != copy.st_ino
    }

    private func isLeftOut(_ name: UnsafePointer<CChar>, _ status: stat, on device: dev_t) -> Bool {
        guard status.st_mode & S_IFMT == S_IFDIR else { return false }
        return status.st_ino == stubInode || status.st_dev != device
            || path.isEmpty && strcmp(name, Slots.home) == 0
    }

    private func names(in folder: Int32, _ body: (UnsafePointer<CChar>) throws -> Void) throws {
        try eachName(in: folder, or: failure, body)
    }

    private func at(_ name: UnsafePointer<CChar>, _ body: () throws -> Void) rethrows {
        let length = path.count
        if length > 0 { path.append(UInt8(ascii: "/")) }
        path += UnsafeRawBufferPointer(start: name, count: strlen(name))
        defer { path.removeLast(path.count - length) }
        try body()
    }

    private func tell(_ what: String) throws {
        likeness.differences += 1
        try differs("\(shown): \(what)")
    }

    private func failure(_ what: String) -> Failure { .system(what, at: shown) }

    private var shown: String { path.isEmpty ? "." : printable(path) }
}

// MARK: - Inodes

extension Comparison {
    private func look(_ name: UnsafePointer<CChar>, in folder: Int32) throws -> stat? {
        var status = stat()
        if fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0 { return status }
        guard errno == ENOENT else { throw failure("cannot look at") }
        return nil
    }

    private func open(_ name: UnsafePointer<CChar>, in folder: Int32, _ flags: Int32) throws -> Descriptor {
        let number = retrying { openat(folder, name, flags | O_NOFOLLOW | O_CLOEXEC) }
        guard number >= 0 else { throw failure("cannot open") }
        return Descriptor(owning: number, name: shown)
    }

    private func inode(
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
            try tell("the time of modification is \(text(now)), not \(text(was))")
        }
        try attributes(name, one, other)
    }

    private func attributes(_ name: UnsafePointer<CChar>, _ one: Int32, _ other: Int32) throws {
        // No call takes a folder's descriptor and a name that may be a symbolic link.
        func path(_ folder: Int32) -> [CChar] {
            [CChar]("/proc/self/fd/\(folder)/".utf8CString.dropLast())
                + UnsafeBufferPointer(start: name, count: strlen(name) + 1)
        }
        let (from, to) = (path(one), path(other))
        func list(_ path: [CChar]) throws -> [CChar] {
            let count = linux_llistxattr(path, self.one, Comparison.step)
            guard count >= 0 || errno == ENOTSUP else { throw failure("cannot list the extended attributes") }
            return Array(
                UnsafeRawBufferPointer(start: self.one, count: max(count, 0)).bindMemory(to: CChar.self))
        }
        func value(
            of attribute: UnsafePointer<CChar>, _ path: [CChar], into buffer: UnsafeMutableRawPointer
        )
            throws -> Int?
        {
            let count = linux_lgetxattr(path, attribute, buffer, Comparison.step)
            guard count >= 0 || errno == ENODATA else { throw failure("cannot read an extended attribute") }
            return count < 0 ? nil : count
        }
        func each(_ list: [CChar], _ body: (UnsafePointer<CChar>) throws -> Void) rethrows {
            try list.withUnsafeBufferPointer { list in
                guard let base = list.baseAddress else { return }
                var start = 0
                while start < list.count {
                    try body(base + start)
                    start += strlen(base + start) + 1
                }
            }
        }
        let (originals, copies) = (try list(from), try list(to))
        try each(originals) { attribute in
            guard let was = try value(of: attribute, from, into: self.one) else { return }
            guard let now = try value(of: attribute, to, into: self.other) else {
                return try tell("the extended attribute \(text(attribute)) is missing")
            }
            guard was == now, memcmp(self.one, self.other, was) == 0
            else { return try tell("the extended attribute \(text(attribute)) has another value") }
        }
        try each(copies) { attribute in
            guard try value(of: attribute, from, into: self.one) == nil else { return }
            try tell("the extended attribute \(text(attribute)) is not in the original")
        }
    }

    private func text(_ name: UnsafePointer<CChar>) -> String {
        printable(UnsafeRawBufferPointer(start: name, count: strlen(name)))
    }

    private func target(of name: UnsafePointer<CChar>, in folder: Int32) throws -> [UInt8] {
        let count = readlinkat(folder, name, one.assumingMemoryBound(to: CChar.self), Comparison.step)
        guard count >= 0 else { throw failure("cannot read the symbolic link") }
        return Array(UnsafeRawBufferPointer(start: one, count: count))
    }

    private func kind(of status: stat) -> String {
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

// MARK: - Content

extension Comparison {
    private func content(
        _ name: UnsafePointer<CChar>, _ original: stat, in one: Int32, _ copy: stat, in other: Int32
    ) throws {
        guard original.st_size == copy.st_size else {
            return try tell("has \(copy.st_size) bytes, not \(original.st_size)")
        }
        let from = try open(name, in: one, O_RDONLY)
        let to = try open(name, in: other, O_RDONLY)
        var (was, now) = (Extent(), Extent())
        var offset: off_t = 0
        var filled: UInt64 = 0
        while offset < original.st_size {
            if offset >= was.end { was = try extent(at: offset, of: from, below: original.st_size) }
            if offset >= now.end { now = try extent(at: offset, of: to, below: original.st_size) }
            var end = min(was.end, now.end)
            if was.isData || now.isData {
                end = offset + min(end - offset, off_t(Comparison.step))
                let count = Int(end - offset)
                // What is a hole reads as zeros.
                try read(from, at: offset, count, into: self.one)
                try read(to, at: offset, count, into: self.other)
                guard memcmp(self.one, self.other, count) == 0 else {
                    let first =
                        (0..<count).first {
                            self.one.load(fromByteOffset: $0, as: UInt8.self)
                                != self.other.load(fromByteOffset: $0, as: UInt8.self)
                        } ?? 0
                    return try tell("the content is another from byte \(offset + off_t(first)) on")
                }
                if was.isData != now.isData { filled += UInt64(count) }
            }
            // Sparse files may have more bytes together than a number holds.
            likeness.bytes = likeness.bytes.addingClamped(UInt64(end - offset))
            progress(likeness.bytes)
            offset = end
        }
        likeness.filledHoles += filled
        if filled > 0, !allowingFilledHoles {
            try tell("the holes are others: \(filled) bytes are one on one side and zeros on the other")
        }
    }

    private struct Extent {
        var isData = false
        var end: off_t = 0
    }

    private func extent(at offset: off_t, of file: borrowing Descriptor, below size: off_t) throws -> Extent {
        let data = lseek(file.number, offset, linux_SEEK_DATA)
        guard data >= 0 || errno == ENXIO else { throw failure("cannot look for holes") }
        if data != offset { return Extent(isData: false, end: data < 0 ? size : min(data, size)) }
        let hole = lseek(file.number, offset, linux_SEEK_HOLE)
        guard hole > offset else { throw failure("cannot look for holes") }
        return Extent(isData: true, end: min(hole, size))
    }

    private func read(
        _ file: borrowing Descriptor, at offset: off_t, _ count: Int,
        into buffer: UnsafeMutableRawPointer
    ) throws {
        var filled = 0
        while filled < count {
            let number = file.number
            let fresh = retrying {
                pread(
                    number, buffer + filled, count - filled, offset + off_t(filled))
            }
            guard fresh >= 0 else { throw failure("cannot read") }
            guard fresh > 0 else { throw Failure(.io, "the file became shorter meanwhile", at: shown) }
            filled += fresh
        }
    }
}
