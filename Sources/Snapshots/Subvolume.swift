import CBtrfsUtil
import Glibc
public import Plumbing

/// The open root of a btrfs subvolume, be it a volume that people work in or a snapshot.
public struct Subvolume: ~Copyable {
    /// Absolute, without symbolic links.
    public let path: String
    public let directory: Descriptor

    /// - Parameter absent: the status where there is nothing at that path.
    /// - Throws: `badData` where that is no root of a subvolume, `denied` at a link that others can have put on the way.
    public init(_ path: String, absent: ExitStatus) throws {
        let folder = try Descriptor.folder(
            at: path, absent: Failure(absent, "no such subvolume", at: path, hint: "is it mounted?"))
        // One that was given open has no path that it must still have.
        let name = path.hasPrefix("/dev/fd/") ? path : Subvolume.realPath(of: folder)
        let number = fcntl(folder.number, F_DUPFD_CLOEXEC, 0)
        guard number >= 0 else { throw Failure.system("cannot open", at: path) }
        try self.init(.init(owning: number, name: name))
    }

    /// The subvolume `name` in an open directory; a symbolic link is refused.
    public init(_ name: String, in directory: borrowing Descriptor) throws {
        try self.init(.init(opening: name, in: directory, O_RDONLY | O_NONBLOCK | O_NOFOLLOW))
    }

    /// What the kernel calls it; where /proc is missing, the path that it was opened by, made absolute.
    private static func realPath(of folder: borrowing Descriptor) -> String {
        var text = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink("/proc/self/fd/\(folder.number)", &text, text.count)
        if count > 0 {
            return String(decoding: text.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
        guard !folder.name.hasPrefix("/"), let here = getcwd(nil, 0) else { return folder.name }
        defer { free(here) }
        return "\(String(cString: here))/\(folder.name)"
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
        try btrfs("cannot create the subvolume", at: directory.path(of: name)) {
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

    /// Marks it as received with that UUID and transaction, and makes it read-only.
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
    /// Sorted, absolute; foreign bytes, of which not all need be UTF-8.
    public func nested() throws -> [[UInt8]] {
        var paths: [[UInt8]] = []
        let home = Array("\(Slots.home)/".utf8)
        let start = Array(directory.path(of: "").utf8)
        try subvolumes(below: 0) { path, _ in
            if !path.starts(with: home) { paths.append(start + path) }
        }
        return paths.sorted { $0.lexicographicallyPrecedes($1) }
    }

    /// The id of a file system's top level (BTRFS_FS_TREE_OBJECTID).
    static let topLevel: UInt64 = 5

    /// Calls with each subvolume below the one of that id, 0 for this one: its path from there, and what is known of it.
    func subvolumes(
        below id: UInt64, _ take: ([UInt8], btrfs_util_subvolume_info) throws -> Void
    ) throws {
        let what = "cannot list the subvolumes"
        var iterator: OpaquePointer?
        try btrfs(what, at: path) {
            btrfs_util_create_subvolume_iterator_fd(directory.number, id, 0, &iterator)
        }
        defer { btrfs_util_destroy_subvolume_iterator(iterator) }
        while true {
            var name: UnsafeMutablePointer<CChar>?
            var info = btrfs_util_subvolume_info()
            var done = false
            try btrfs(what, at: path) {
                let error = btrfs_util_subvolume_iterator_next_info(iterator, &name, &info)
                done = error == BTRFS_UTIL_ERROR_STOP_ITERATION
                return done ? BTRFS_UTIL_OK : error
            }
            guard !done, let name else { return }
            defer { free(name) }
            try take(Array(UnsafeRawBufferPointer(start: name, count: strlen(name))), info)
        }
    }
}
