import Glibc
import Plumbing

/// The inode number of what stands for a subvolume in a snapshot that was taken around it
/// (BTRFS_EMPTY_SUBVOL_DIR_OBJECTID): an empty folder that only rmdir changes.
let stubInode: ino_t = 2

/// Lets a walk hold descriptors for each level of folders.
func allowManyDescriptors() {
    var limit = rlimit()
    if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 {
        limit.rlim_cur = limit.rlim_max
        _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
}

extension Subvolume {
    /// The longest path that `btrfs send` carries (the kernel's PATH_MAX, its zero byte counted).
    public static let longestPath = Int(PATH_MAX) - 1

    /// Throws `badData` at the first path below that `btrfs send` cannot carry, as its ENAMETOOLONG names none.
    public func requirePathsThatCanBeSent() throws {
        allowManyDescriptors()
        try look(in: directory.number, [])
    }

    private func look(in folder: Int32, _ above: [UInt8]) throws {
        func failure(_ what: String) -> Failure {
            .system(what, at: directory.path(of: Subvolume.shortened(above)))
        }
        try eachName(in: folder, or: failure) { name in
            let path = above + Array(UnsafeRawBufferPointer(start: name, count: strlen(name)))
            guard path.count <= Subvolume.longestPath else {
                throw Failure(
                    .badData,
                    "a path of \(path.count) bytes or more, but btrfs send carries at most \(Subvolume.longestPath)",
                    at: Subvolume.shortened(path),
                    hint:
                        "rename a folder in it to something shorter, or remove it: no backup is possible until then"
                )
            }
            var status = stat()
            guard fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
                throw failure("cannot stat")
            }
            guard status.st_mode & S_IFMT == S_IFDIR, status.st_ino != stubInode else { return }
            let number = retrying { openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) }
            guard number >= 0 else { throw failure("cannot open") }
            let next = Descriptor(owning: number, name: "")
            try look(in: next.number, path + [UInt8(ascii: "/")])
        }
    }

    /// Enough of a path to find it by.
    private static func shortened(_ path: [UInt8]) -> String {
        guard path.count > 512 else { return printable(path) }
        return printable(path.prefix(256)) + " ... " + printable(path.suffix(128))
    }
}
