import CBtrfsUtil
import Glibc
public import Plumbing

/// The open root of a btrfs subvolume, be it a volume that people work in or a snapshot.
public struct Subvolume: ~Copyable {
    /// Absolute, without symbolic links.
    public let path: String
    let directory: Descriptor

    /// - Parameter absent: the status where there is nothing at that path.
    /// - Throws: `badData` where that is no root of a subvolume.
    public init(_ path: String, absent: ExitStatus) throws {
        guard let real = realpath(path, nil) else {
            guard errno == ENOENT || errno == ENOTDIR else { throw Failure.system("cannot open", at: path) }
            throw Failure(absent, "no such subvolume", at: path, hint: "see that it is mounted")
        }
        defer { free(real) }
        try self.init(.init(opening: String(cString: real), O_RDONLY | O_NONBLOCK))
    }

    /// The subvolume `name` in an open directory.
    init(_ name: String, in directory: borrowing Descriptor) throws {
        try self.init(.init(opening: name, in: directory, O_RDONLY | O_NONBLOCK | O_NOFOLLOW))
    }

    private init(_ directory: consuming Descriptor) throws {
        let number = directory.number
        self.path = directory.name
        try btrfs("cannot open", at: directory.name) { btrfs_util_is_subvolume_fd(number) }
        self.directory = directory
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
