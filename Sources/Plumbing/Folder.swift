import CLinux
public import Glibc

extension Descriptor {
    /// Opens the folder at `path`, one name at a time, for reading. `/dev/fd/N`, and what is below it, starts at the folder
    /// that we were given open as descriptor N: it is the same one whatever became of its path, and needs no /proc.
    ///
    /// A symbolic link on the way is followed only where nobody but root and we can have put it there: it lies in a folder
    /// that others cannot write to; or in one like /tmp, with the sticky bit, and is root's or ours itself.
    ///
    /// - Parameter absent: the failure where there is no such folder; nil takes the system's words.
    /// - Throws: `denied` at any other link, with its path.
    public static func folder(at path: String, absent: Failure? = nil) throws -> Descriptor {
        let descriptor = try walk(path, absent: absent)
        return try Descriptor(opening: ".", from: descriptor.number, shown: path, O_RDONLY | O_DIRECTORY)
    }

    /// Opens the file at `path` for reading: the folders on the way as by `folder(at:)`, and a link in the file's own place
    /// only where nobody but root and we can have put it there.
    ///
    /// - Throws: as `folder(at:)`.
    public static func file(at path: String) throws -> Descriptor {
        let entry = try Entry(at: path)
        let flags = try entry.folder.isClosed ? O_RDONLY : O_RDONLY | O_NOFOLLOW
        let number = retrying { openat(entry.folder.number, entry.name, flags | O_CLOEXEC) }
        guard number >= 0 else {
            throw errno == ELOOP && flags != O_RDONLY
                ? plantedLink(at: path, to: "file") : Failure.system("cannot open", at: path)
        }
        return Descriptor(owning: number, name: path)
    }

    private static func plantedLink(at path: String, to what: String) -> Failure {
        Failure(
            .denied, "refusing to follow a symbolic link that others could have created", at: path,
            hint: "give the path of the \(what) that it points to")
    }

    private static let mostLinks = 40

    private static func walk(_ path: String, absent: Failure?) throws -> Descriptor {
        let flags = linux_O_PATH | O_NOFOLLOW | O_CLOEXEC
        var rest = Array(path.split(separator: "/").map(String.init).reversed())
        var here: Descriptor
        if path.hasPrefix("/dev/fd/"), rest.count >= 3, let given = Int32(rest[rest.count - 3]) {
            rest.removeLast(3)
            here = try Descriptor(
                opening: ".", from: given, shown: "/dev/fd/\(given)", linux_O_PATH | O_DIRECTORY)
        } else {
            here = try Descriptor(opening: path.hasPrefix("/") ? "/" : ".", linux_O_PATH | O_DIRECTORY)
        }
        var links = 0
        while let name = rest.popLast() {
            let number = retrying { openat(here.number, name, flags) }
            guard number >= 0 else {
                let failure = Failure.system("cannot open", at: path)
                throw errno == ENOENT ? absent ?? failure : failure
            }
            let next = Descriptor(owning: number, name: here.path(of: name))
            let status = try next.status()
            switch status.st_mode & S_IFMT {
            case S_IFDIR: here = next
            case S_IFLNK:
                links += 1
                guard links <= mostLinks else { throw Failure.system("cannot open", at: path, errno: ELOOP) }
                let isOurs = try here.isClosed || here.status().st_mode & S_ISVTX != 0 && status.isOurs
                guard isOurs else { throw plantedLink(at: next.name, to: "folder") }
                let target = try next.target()
                if target.hasPrefix("/") { here = try Descriptor(opening: "/", linux_O_PATH | O_DIRECTORY) }
                rest += target.split(separator: "/").map(String.init).reversed()
            default: throw absent ?? Failure.system("cannot open", at: path, errno: ENOTDIR)
            }
        }
        return here
    }

    private func target() throws -> String {
        var text = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlinkat(number, "", &text, text.count)
        guard count >= 0 else { throw Failure.system("cannot read the symbolic link", at: name) }
        return String(decoding: text.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// Whether anything is at that path, as far as we may look.
public func exists(_ path: String) -> Bool { access(path, F_OK) == 0 || errno != ENOENT }

/// Makes the folders that are missing on the way to the file at `path`, mode 0700, durably.
///
/// - Throws: as `Descriptor.folder(at:)`.
public func makeFolders(above path: String) throws {
    let parts = path.split(separator: "/").dropLast()
    for count in parts.indices.map({ $0 + 1 }) {
        let folder = (path.hasPrefix("/") ? "/" : "") + parts[..<count].joined(separator: "/")
        guard !exists(folder) else { continue }
        let entry = try Entry(at: folder)
        guard mkdirat(entry.folder.number, entry.name, 0o700) == 0 || errno == EEXIST else {
            throw Failure.system("cannot create the folder", at: folder)
        }
        try entry.folder.sync()
    }
}

/// A name in an open folder: how a file is made, replaced or removed without a path that may change meanwhile.
public struct Entry: ~Copyable {
    public let folder: Descriptor
    /// A single name, neither empty nor `.` nor `..`.
    public let name: String

    /// - Throws: as `Descriptor.folder(at:)` for the folder that `path` is in; `usage` for a path that ends in no name.
    public init(at path: String) throws {
        var trimmed = path[...]
        while trimmed.count > 1, trimmed.hasSuffix("/") { trimmed.removeLast() }
        let slash = trimmed.lastIndex(of: "/")
        let name = slash.map { trimmed[trimmed.index(after: $0)...] } ?? trimmed
        guard !["", ".", ".."].contains(name) else {
            throw Failure(.usage, "not a valid file name", at: path)
        }
        let parent = slash.map { $0 == trimmed.startIndex ? "/" : String(trimmed[..<$0]) } ?? "."
        self.init(folder: try .folder(at: parent), name: String(name))
    }

    private init(folder: consuming Descriptor, name: String) {
        self.folder = folder
        self.name = name
    }
}

// MARK: - Who can change it

extension Descriptor {
    /// fstat(2).
    public func status() throws -> stat {
        var status = stat()
        guard fstat(number, &status) == 0 else { throw Failure.system("cannot stat", at: name) }
        return status
    }

    /// Whether only root, or we where we are somebody else, can change what is in this folder.
    public var isClosed: Bool {
        get throws {
            let status = try status()
            return status.st_mode & S_IFMT == S_IFDIR && status.isOurs && status.st_mode & 0o022 == 0
        }
    }

    /// - Throws: `denied` unless this is a folder of ours, or root's, that others can neither change nor look into.
    public func requirePrivate(hint: String) throws {
        let status = try status()
        guard status.st_mode & S_IFMT == S_IFDIR, status.isOurs, status.st_mode & 0o077 == 0 else {
            throw Failure(
                .denied, "not a private folder", at: name, hint: hint)
        }
    }
}

extension stat {
    /// Whether it belongs to root, or to us.
    public var isOurs: Bool { st_uid == 0 || st_uid == geteuid() }
}

// MARK: - Names

/// Calls with the names in a folder but `.` and `..`, in the folder's own order.
///
/// - Parameter failure: what is thrown where that cannot be; `errno` says why.
public func eachName(
    in folder: Int32, or failure: (String) -> Failure, _ body: (UnsafePointer<CChar>) throws -> Void
) throws {
    // A descriptor of its own: its position moves.
    let number = retrying { openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
    guard number >= 0 else { throw failure("cannot open") }
    guard let stream = fdopendir(number) else {
        let failure = failure("cannot list")
        close(number)
        throw failure
    }
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

extension Descriptor {
    /// The names of the entries of this folder but `.` and `..`, in no order.
    ///
    /// - Throws: `badData` where there are more than `most`.
    public func names(startingWith prefix: String = "", atMost most: Int = .max) throws -> [String] {
        let place = name
        func failure(_ what: String) -> Failure { .system(what, at: place) }
        var names: [String] = []
        try eachName(in: number, or: failure) { name in
            let name = String(cString: name)
            guard name.hasPrefix(prefix) else { return }
            guard names.count < most else {
                throw Failure(
                    .badData, "more than \(most) entries", at: place,
                    hint: "find out what fills it, and move that elsewhere")
            }
            names.append(name)
        }
        return names
    }

    /// Gives the entry `old` of this folder a name that nothing has.
    ///
    /// Where a file system cannot refuse a taken name by itself (FUSE, NFS, old kernels), a hard link does; where it has
    /// none either, we look first, and only a lock keeps others from that name meanwhile.
    ///
    /// - Throws: `Failure.system`, with EEXIST where the name is taken.
    public func rename(_ old: String, toNew new: String) throws { try rename(old, into: self, asNew: new) }

    /// The same, into another folder of the same file system.
    public func rename(_ old: String, into other: borrowing Descriptor, asNew new: String) throws {
        let target = other.number
        let place = other.path(of: new)
        func failure(_ code: Int32) -> Failure { .system("cannot move into place", at: place, errno: code) }
        if linux_rename_new(number, old, target, new) == 0 { return }
        guard [EINVAL, ENOSYS, ENOTSUP].contains(errno) else { throw failure(errno) }
        if linkat(number, old, target, new, 0) == 0 {
            unlinkat(number, old, 0)
            return
        }
        guard errno != EEXIST else { throw failure(EEXIST) }
        var status = stat()
        guard fstatat(target, new, &status, AT_SYMLINK_NOFOLLOW) != 0 else { throw failure(EEXIST) }
        guard errno == ENOENT, renameat(number, old, target, new) == 0 else { throw failure(errno) }
    }
}

// MARK: - Durability

extension Descriptor {
    /// Brings the names in this folder to stable storage. A failure is final, as with `sync`.
    public func syncNames() throws {
        if retrying({ fsync(number) }) == 0 { return }
        // A file system that has no such thing for folders may still be synced whole.
        guard errno == EINVAL else { throw Failure.system("cannot sync", at: name) }
        try syncFileSystem()
    }

    /// syncfs(2): all that was written to the file system that it is on, by whomever.
    public func syncFileSystem() throws {
        guard linux_syncfs(number) == 0 else {
            throw Failure.system("cannot sync", at: name)
        }
    }
}
