import Glibc
import Plumbing

/// Compares a subvolume with its copy: names, kinds, modes, owners, times of modification, extended attributes and so
/// ACLs, inode flags, symbolic links, device numbers, which names are one file, content, and where it has holes.
///
/// The inode flags of a subvolume that was received are those that it has a record of: only the live volume that is made
/// of it has all of them.
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
) throws -> ComparisonReport {
    allowManyDescriptors()
    let comparison = TreeComparison(
        allowingFilledHoles: allowingFilledHoles, differs: differs, progress: progress)
    let (one, other) = (original.directory.number, copy.directory.number)
    comparison.recorded = (try original.flagsIfReceived(), try copy.flagsIfReceived())
    try comparison.roots(one, other)
    return comparison.report
}

/// Walks both trees at once. What is compared of an entry, whatever its kind, and of a file is in extensions of its own.
final class TreeComparison {
    /// How many bytes are compared at once; no list of attributes, attribute or link is longer.
    static let step = 1 << 20

    var report = ComparisonReport()
    let allowingFilledHoles: Bool
    /// The flags of inodes, where these themselves do not have them.
    var recorded: (original: [UInt64: InodeFlags]?, copy: [UInt64: InodeFlags]?)
    private let differs: (String) throws -> Void
    let progress: (UInt64) -> Void
    var path: [UInt8] = []
    private var devices: (dev_t, dev_t) = (0, 0)
    /// Of files with several names: the copy's inode number, and how many names have not been met.
    private var links: [ino_t: (copy: ino_t, left: UInt64)] = [:]
    let one = UnsafeMutableRawPointer.allocate(byteCount: step, alignment: 4096)
    let other = UnsafeMutableRawPointer.allocate(byteCount: step, alignment: 4096)

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
        try flags(.init(borrowing: one, name: shown), original, .init(borrowing: other, name: shown), copy)
        try folder(one, other)
    }
}

// MARK: - Names

extension TreeComparison {
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
                report.entries += 1
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
            try self.flags(from, original, to, copy)
            return try folder(from.number, to.number)
        }
        guard try isNew(original, copy) else { return }
        try inode(name, original, in: one, copy, in: other)
        switch original.st_mode & S_IFMT {
        case S_IFREG:
            report.files += 1
            try content(name, original, in: one, copy, in: other)
        case S_IFLNK:
            guard try target(of: name, in: one) != target(of: name, in: other) else { return }
            try tell("the symbolic link has a different target")
        case S_IFCHR, S_IFBLK:
            guard original.st_rdev != copy.st_rdev else { return }
            try tell("the device number differs")
        default: break
        }
    }

    /// Whether these two have not been compared under another name. Where every file has as many names as before, and
    /// none of its names became another file, no two files became one either.
    private func isNew(_ original: stat, _ copy: stat) throws -> Bool {
        if original.st_nlink != copy.st_nlink {
            try tell("the hard link count is \(copy.st_nlink), not \(original.st_nlink)")
        }
        guard let known = links[original.st_ino] else {
            if original.st_nlink > 1 {
                links[original.st_ino] = (copy.st_ino, UInt64(original.st_nlink) - 1)
            }
            return true
        }
        links[original.st_ino] = known.left > 1 ? (known.copy, known.left - 1) : nil
        if known.copy != copy.st_ino {
            try tell("is no longer hard-linked to its other names")
        }
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

    func tell(_ what: String) throws {
        report.differences += 1
        try differs("\(shown): \(what)")
    }

    func failure(_ what: String) -> Failure { .system(what, at: shown) }

    var shown: String { path.isEmpty ? "." : printable(path) }
}
