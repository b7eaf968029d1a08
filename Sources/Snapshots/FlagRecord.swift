import CLinux
import Glibc
import Plumbing

/// Which inodes of a subvolume have which flags, as the file `.escapepod/.flags` in it says: for each its letters, a space,
/// a path of it from the subvolume's root on, and a zero byte. The root is `.`.
struct FlagRecord: Equatable {
    /// The most bytes of a record.
    static let limit = 256 << 20
    /// No folder of slots has a name that starts with a dot.
    private static let name = ".flags"

    private(set) var bytes: [UInt8]

    init(_ bytes: [UInt8] = []) { self.bytes = bytes }

    mutating func add(_ path: some Sequence<UInt8>, _ flags: InodeFlags) {
        bytes += flags.letters
        bytes.append(UInt8(ascii: " "))
        bytes += path
        bytes.append(0)
    }

    /// Calls with each of its entries: the path, a zero byte at its end, and the flags.
    ///
    /// - Throws: `badData` for what is no record, or has a path that is not a plain one from the subvolume's root on.
    func each(_ take: ([CChar], InodeFlags) throws -> Void) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            guard let end = rest.firstIndex(of: 0),
                let space = rest[..<end].firstIndex(of: UInt8(ascii: " ")),
                let flags = InodeFlags(letters: rest[..<space])
            else { throw FlagRecord.invalid }
            let path = rest[(space + 1)..<end]
            guard FlagRecord.isPlain(path) else { throw FlagRecord.invalid }
            try take(path.map { CChar(bitPattern: $0) } + [0], flags)
            rest = rest[(end + 1)...]
        }
    }

    private static let invalid = Failure(.badData, "not a record of inode flags", at: "\(Slots.home)/\(name)")

    /// Whether it is the root, or consists of names that are neither empty nor dots, and leads past what is ours.
    private static func isPlain(_ path: ArraySlice<UInt8>) -> Bool {
        let dot = UInt8(ascii: ".")
        if path.elementsEqual([dot]) { return true }
        let names = path.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        return path.count < Int(PATH_MAX) && !isOurs(path)
            && names.allSatisfy { !$0.isEmpty && !$0.elementsEqual([dot]) && !$0.elementsEqual([dot, dot]) }
    }

    /// Whether a path is that of our own folder or leads into it. What lies there has no flags that matter.
    static func isOurs(_ path: some Collection<UInt8>) -> Bool {
        let home = Slots.home.utf8
        return path.starts(with: home) && [nil, UInt8(ascii: "/")].contains(path.dropFirst(home.count).first)
    }

    /// What a subvolume has recorded; nil where it has no record in a folder that is ours.
    init?(in subvolume: borrowing Subvolume) throws {
        let flags = O_RDONLY | O_NONBLOCK | O_NOFOLLOW
        guard let home = try? Descriptor(opening: Slots.home, in: subvolume.directory, flags | O_DIRECTORY),
            (try? home.requirePrivate(hint: "")) != nil
        else { return nil }
        do {
            let file = try Descriptor(opening: FlagRecord.name, in: home, flags)
            guard try file.status().st_mode & S_IFMT == S_IFREG else { throw FlagRecord.invalid }
            bytes = try file.readAll(limit: FlagRecord.limit)
        } catch let failure as Failure where failure.code == ENOENT {
            return nil
        }
    }

    /// Removes what is in the folder of ours in a volume: nothing is known then.
    static func remove(from home: borrowing Descriptor) throws {
        guard unlinkat(home.number, FlagRecord.name, 0) == 0 || errno == ENOENT else {
            throw Failure.system("cannot delete", at: home.path(of: FlagRecord.name))
        }
    }

    /// Writes it into the folder of ours in a volume. Whoever takes a snapshot then has it whole.
    func write(in home: borrowing Descriptor) throws {
        let flags = O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_NOFOLLOW
        let file = try Descriptor(opening: FlagRecord.name, in: home, flags, mode: 0o600)
        try file.write(bytes)
        try file.close()
    }
}

/// What an earlier snapshot of the same volume tells: inodes that are in no tree block that was written since, and not among
/// those that had flags then, have none.
struct KnownFlags {
    /// The transaction that changed the snapshot last.
    let transaction: UInt64
    let inodes: Set<UInt64>
    /// The longest record that is worth it. Where many inodes have flags, it takes longer to look each of them up than to
    /// search the whole tree.
    private static let limit = 256 << 10

    /// Nil where a snapshot has no record.
    init?(of snapshot: Snapshot, _ subvolume: borrowing Subvolume) throws {
        guard let record = try FlagRecord(in: subvolume), record.bytes.count <= KnownFlags.limit else {
            return nil
        }
        transaction = snapshot.contentTransaction
        inodes = Set(try subvolume.recordedFlags().keys)
    }
}

extension Subvolume {
    /// The record of what its inodes have, in the order of their numbers. Of a subvolume that changes meanwhile it need not
    /// have what was not yet committed.
    ///
    /// - Parameters:
    ///   - known: spares a search of the whole tree.
    ///   - warn: is told of what is left out: the file has no path that a record can hold.
    /// - Throws: `denied` without CAP_SYS_ADMIN.
    func flagRecord(_ known: KnownFlags?, warn: (String) -> Void) throws -> FlagRecord {
        var record = FlagRecord()
        var path = [CChar](repeating: 0, count: Int(BTRFS_INO_LOOKUP_PATH_MAX))
        for inode in try flagged(known) {
            let flags = InodeFlags(rawValue: inode.flags)
            // What is neither has them of its folder, without an effect and without a way to set them.
            guard [S_IFREG, S_IFDIR].contains(mode_t(inode.mode) & S_IFMT) else { continue }
            guard inode.number != Subvolume.rootInode else {
                record.add([UInt8(ascii: ".")], flags)
                continue
            }
            guard linux_btrfs_path(directory.number, inode.number, &path) == 0 else {
                guard errno == ENOENT || errno == ENAMETOOLONG else {
                    throw Failure.system("cannot look up the path of inode \(inode.number)", at: self.path)
                }
                warn("the inode flags of inode \(inode.number) are not recorded: it has no usable path")
                continue
            }
            let bytes = path.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
            if !FlagRecord.isOurs(bytes) { record.add(bytes, flags) }
        }
        guard record.bytes.count <= FlagRecord.limit else {
            warn(
                "the inode flags are not recorded: they would fill more than \(readable(bytes: UInt64(FlagRecord.limit)))"
            )
            return FlagRecord()
        }
        return record
    }

    /// The number that the root of a subvolume always has (BTRFS_FIRST_FREE_OBJECTID).
    private static let rootInode: UInt64 = 256
    /// BTRFS_LAST_FREE_OBJECTID.
    private static let lastInode = UInt64(bitPattern: -256)

    /// The inodes that have flags, sorted by their numbers.
    private func flagged(_ known: KnownFlags?) throws -> [linux_btrfs_inode] {
        let room = UnsafeMutableRawPointer.allocate(byteCount: Int(linux_btrfs_search_room), alignment: 8)
        let part = UnsafeMutablePointer<linux_btrfs_inode>.allocate(
            capacity: Int(linux_btrfs_search_most))
        defer {
            room.deallocate()
            part.deallocate()
        }
        var found: [linux_btrfs_inode] = []
        func search(_ first: UInt64, _ last: UInt64, since transaction: UInt64) throws {
            var next = first
            repeat {
                let count = linux_btrfs_flagged(directory.number, &next, last, transaction, room, part)
                guard count >= 0 else { throw Failure.system("cannot search for inode flags", at: path) }
                found += UnsafeBufferPointer(start: part, count: Int(count))
            } while next != 0
        }
        try search(Subvolume.rootInode, Subvolume.lastInode, since: known?.transaction ?? 0)
        guard let known else { return found }
        let numbers = Set(found.map(\.number))
        for number in known.inodes where !numbers.contains(number) { try search(number, number, since: 0) }
        return found.sorted { $0.number < $1.number }
    }
}
