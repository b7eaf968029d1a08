public import Glibc
public import Plumbing

/// An open folder. All that is in it is reached through its descriptor and never by a path again, so that a drive
/// that is gone is an error and not a bare mount point; symbolic links are refused.
///
/// Its calls block. Every failure names the entry by its path.
public final class Folder: Sendable {
    private let descriptor: Descriptor
    /// For how many seconds to wait for a lock.
    public let patience: Double

    /// The most names of a folder, foreign ones included; one that goes on and on is nobody's that we know.
    public static let mostNames = 2_000_000

    /// - Parameter patience: for how many seconds to wait for a lock.
    public init(_ descriptor: consuming Descriptor, patience: Double = 0) {
        self.descriptor = descriptor
        self.patience = patience
    }

    public var number: Int32 { descriptor.number }

    /// How messages name an entry.
    public func path(of name: String) -> String { descriptor.path(of: name) }

    /// Runs `body` with the folder's descriptor.
    public func withDescriptor<Result: ~Copyable>(
        _ body: (borrowing Descriptor) throws -> Result
    ) rethrows -> Result {
        try body(descriptor)
    }
}

// MARK: - Looking

extension Folder {
    /// The folder `name` in this one, or nil where there is none.
    ///
    /// - Throws: `badData` where it is no folder.
    public func folder(_ name: String) throws -> Folder? {
        let number = retrying {
            openat(self.number, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        }
        guard number >= 0 else {
            switch errno {
            case ENOENT: return nil
            case ENOTDIR, ELOOP:
                throw Failure(
                    .badData, "a file or a symbolic link in place of a directory", at: path(of: name))
            default: throw Failure.system("cannot open", at: path(of: name))
            }
        }
        return Folder(Descriptor(owning: number, name: path(of: name)), patience: patience)
    }

    /// The length in bytes of the file `name`, or nil where there is none.
    ///
    /// - Throws: `badData` where it is no file.
    public func length(of name: String) throws -> UInt64? { try extent(of: name)?.length }

    /// The same, and when it was modified last, in seconds since 1970, and not before that.
    public func extent(of name: String) throws -> (length: UInt64, modified: Int64)? {
        var status = stat()
        guard fstatat(number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
            guard errno == ENOENT else { throw Failure.system("cannot stat", at: path(of: name)) }
            return nil
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw Failure(.badData, "not a regular file", at: path(of: name))
        }
        guard let length = UInt64(exactly: status.st_size) else {
            throw Failure(.badData, "invalid file size: \(status.st_size) bytes", at: path(of: name))
        }
        return (length, max(0, Int64(status.st_mtim.tv_sec)))
    }

    /// How many bytes its file system has room for.
    public func freeSpace() throws -> UInt64 {
        var usage = statvfs()
        guard retrying({ fstatvfs(number, &usage) }) == 0 else {
            throw Failure.system("cannot learn the free space", at: path(of: ""))
        }
        return UInt64(usage.f_bavail) * UInt64(usage.f_frsize)
    }

    /// The names of the entries, in no order.
    ///
    /// - Throws: `badData` where there are more than `most`.
    public func names(atMost most: Int = mostNames) throws -> [String] { try descriptor.names(atMost: most) }

    /// Opens the file `name`. Entries that are no plain files are the caller's to rule out by `length(of:)`.
    public func open(_ name: String, _ flags: Int32, mode: mode_t = 0) throws -> Descriptor {
        try Descriptor(opening: name, in: descriptor, flags | O_NOFOLLOW | O_NONBLOCK, mode: mode)
    }

    /// The same, as something that may be shared.
    public func file(_ name: String, _ flags: Int32, mode: mode_t = 0) throws -> File {
        File(try open(name, flags, mode: mode))
    }

    /// The whole content of a small file.
    ///
    /// - Throws: `badData` where it has more than `limit` bytes.
    public func read(_ name: String, limit: Int) throws -> [UInt8] {
        guard try length(of: name) != nil else {
            throw Failure.system("cannot open", at: path(of: name), errno: ENOENT)
        }
        return try open(name, O_RDONLY).readAll(limit: limit)
    }
}

// MARK: - Changing

extension Folder {
    /// The folder `name` in this one, made where it is missing, its name on stable storage.
    ///
    /// - Parameter mode: what a new one gets, less what the umask takes.
    public func making(_ name: String, mode: mode_t = 0o755) throws -> Folder {
        if mkdirat(number, name, mode) != 0 && errno != EEXIST {
            throw Failure.system("cannot create the directory", at: path(of: name))
        }
        guard let folder = try folder(name) else {
            throw Failure.system("cannot open", at: path(of: name), errno: ENOENT)
        }
        // Also where it was there: whoever made it may have died before this.
        try sync()
        return folder
    }

    /// Gives a file another name in this folder, in place of whatever has it.
    public func rename(_ old: String, to new: String) throws { try rename(old, into: self, as: new) }

    /// Gives a file a name in another folder of the same file system, in place of whatever has it.
    public func rename(_ old: String, into other: Folder, as new: String) throws {
        guard renameat(number, old, other.number, new) == 0 else {
            throw Failure.system("cannot move into place", at: other.path(of: new))
        }
    }

    /// Sets the time at which a file was modified.
    ///
    /// - Parameter time: in seconds since 1970; nil for now.
    public func touch(_ name: String, at time: Int? = nil) throws {
        let times = time.map { [timespec](repeating: timespec(tv_sec: $0, tv_nsec: 0), count: 2) }
        guard utimensat(number, name, times, AT_SYMLINK_NOFOLLOW) == 0 else {
            throw Failure.system("cannot set the times", at: path(of: name))
        }
    }

    /// Removes a file; where it cannot be removed it stays, for the next run or a person.
    public func remove(_ name: String) {
        unlinkat(number, name, 0)
    }

    /// Removes a file, if it is there.
    public func delete(_ name: String) throws {
        guard unlinkat(number, name, 0) == 0 || errno == ENOENT else {
            throw Failure.system("cannot remove", at: path(of: name))
        }
    }

    /// Brings the names in this folder to stable storage. A failure is final, as with `Descriptor.sync`.
    public func sync() throws { try descriptor.syncNames() }

    /// Runs `body` alone among all who lock this folder.
    ///
    /// - Throws: `busy` where another one has it for longer than our patience; that says who.
    public func locked<Result>(_ body: () throws -> Result) throws -> Result {
        let lock = try Lock(".lock", in: descriptor, within: patience)
        return try withExtendedLifetime(lock) { try body() }
    }
}
