import CBtrfsUtil
import Glibc
public import Plumbing

/// The open root of a btrfs subvolume, be it a volume that people work in or a snapshot.
public struct Subvolume: ~Copyable {
    /// Absolute, without symbolic links.
    public let path: String
    public let directory: Descriptor

    /// - Parameter absent: the status where there is nothing at that path.
    /// - Throws: `badData` where that is no root of a subvolume.
    public init(_ path: String, absent: ExitStatus) throws {
        try self.init(
            .folder(
                at: path,
                absent: Failure(absent, "no such subvolume", at: path, hint: "see that it is mounted")))
    }

    /// The subvolume `name` in an open directory; a symbolic link is none.
    public init(_ name: String, in directory: borrowing Descriptor) throws {
        try self.init(.init(opening: name, in: directory, O_RDONLY | O_NONBLOCK | O_NOFOLLOW))
    }

    private init(_ directory: consuming Descriptor) throws {
        let number = directory.number
        self.path = directory.name
        try btrfs("cannot open", at: directory.name) { btrfs_util_is_subvolume_fd(number) }
        self.directory = directory
    }

    /// Makes the empty subvolume `name` in an open directory.
    public static func make(_ name: String, in directory: borrowing Descriptor) throws {
        let number = directory.number
        try btrfs("cannot make the subvolume", at: directory.path(of: name)) {
            btrfs_util_create_subvolume_fd(number, name, 0, nil, nil)
        }
    }

    /// Takes a snapshot of it as `name` in an open directory of its file system.
    public func snapshot(as name: String, in directory: borrowing Descriptor, readOnly: Bool) throws {
        let (from, to) = (self.directory.number, directory.number)
        let flags = readOnly ? BTRFS_UTIL_CREATE_SNAPSHOT_READ_ONLY : 0
        try btrfs("cannot take a snapshot", at: directory.path(of: name)) {
            btrfs_util_create_snapshot_fd2(from, to, name, Int32(flags), nil, nil)
        }
    }

    /// Deletes the subvolume `name` in an open directory.
    public static func delete(_ name: String, in directory: borrowing Descriptor) throws {
        let number = directory.number
        try btrfs("cannot delete the snapshot", at: directory.path(of: name)) {
            btrfs_util_delete_subvolume_fd(number, name, 0)
        }
    }

    /// Says that it is what was sent with that UUID as of that transaction, and makes it read-only.
    ///
    /// - Parameter uuid: 16 bytes.
    public func seal(received uuid: [UInt8], transaction: UInt64) throws {
        precondition(uuid.count == 16)
        let number = directory.number
        guard btrfs_set_received(number, uuid, transaction) == 0 else {
            throw Failure.system("cannot set the received UUID", at: path)
        }
        try btrfs("cannot make it read-only", at: path) {
            btrfs_util_set_subvolume_read_only_fd(number, true)
        }
    }

    /// The paths of all subvolumes below, which `btrfs send` leaves out without a word, but for our own snapshots.
    /// Sorted, absolute.
    public func nested() throws -> [String] {
        let what = "cannot list the subvolumes"
        var iterator: OpaquePointer?
        try btrfs(what, at: path) {
            btrfs_util_create_subvolume_iterator_fd(directory.number, 0, 0, &iterator)
        }
        defer { btrfs_util_destroy_subvolume_iterator(iterator) }
        var paths: [String] = []
        while true {
            var name: UnsafeMutablePointer<CChar>?
            var done = false
            try btrfs(what, at: path) {
                let error = btrfs_util_subvolume_iterator_next(iterator, &name, nil)
                done = error == BTRFS_UTIL_ERROR_STOP_ITERATION
                return done ? BTRFS_UTIL_OK : error
            }
            guard !done, let name else { return paths.sorted() }
            defer { free(name) }
            let relative = String(cString: name)
            if !relative.hasPrefix("\(Slots.home)/") { paths.append(directory.path(of: relative)) }
        }
    }
}
