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

/// Calls with the names in a folder but `.` and `..`, in the folder's own order.
///
/// - Parameter failure: what is thrown where that cannot be; `errno` says why.
func eachName(
    in folder: Int32, or failure: (String) -> Failure, _ body: (UnsafePointer<CChar>) throws -> Void
) throws {
    // A descriptor of its own: its position moves.
    let number = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard number >= 0, let stream = fdopendir(number) else { throw failure("cannot open") }
    defer { closedir(stream) }
    while true {
        errno = 0
        guard let entry = readdir(stream) else {
            guard errno == 0 else { throw failure("cannot list") }
            return
        }
        let offset = MemoryLayout<dirent>.offset(of: \dirent.d_name) ?? 0
        let name = UnsafeRawPointer(entry).advanced(by: offset).assumingMemoryBound(to: CChar.self)
        if strcmp(name, ".") != 0, strcmp(name, "..") != 0 { try body(name) }
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
                    "a path of \(path.count) bytes or more, and btrfs send carries \(Subvolume.longestPath)",
                    at: Subvolume.shortened(path),
                    hint:
                        "rename a folder on the way to something shorter, or remove it: no backup can be made until then"
                )
            }
            var status = stat()
            guard fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
                throw failure("cannot look")
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
