import Glibc
import Plumbing

/// An open directory. All that is in it is reached through its descriptor and never by a path again, so that a drive
/// that is gone is an error and not a bare mount point; symbolic links are refused.
final class Directory {
    private let descriptor: Descriptor
    /// For how many seconds to wait for a lock.
    private let patience: Double

    /// The most names of a directory, foreign ones included; one that goes on and on is no store's.
    static let mostNames = 2_000_000

    private init(_ descriptor: consuming Descriptor, patience: Double) {
        self.descriptor = descriptor
        self.patience = patience
    }

    /// The root of a store, reached as by `Descriptor.folder(at:)`.
    ///
    /// - Throws: `unavailable` where there is no directory of that path; `denied` at a link that others can have put there.
    convenience init(root path: String, patience: Double = Remote().patience) throws {
        var status = stat()
        let error = stat(path, &status) == 0 ? 0 : errno
        guard error != ENOENT else {
            throw Failure(
                .unavailable, "the store is not there", at: path,
                hint: "is its drive mounted? a new store wants its directory made first")
        }
        guard error == 0 ? status.st_mode & S_IFMT == S_IFDIR : error != ENOTDIR else {
            throw Failure(.unavailable, "the store is not a directory", at: path)
        }
        self.init(try Descriptor.folder(at: path), patience: patience)
    }

    var number: Int32 { descriptor.number }

    /// How messages name an entry.
    func path(of name: String) -> String { descriptor.path(of: name) }

    // MARK: Looking

    /// The directory `name` in this one, or nil where there is none.
    func directory(_ name: String) throws -> Directory? {
        let number = retrying {
            openat(self.number, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        }
        guard number >= 0 else {
            switch errno {
            case ENOENT: return nil
            case ENOTDIR, ELOOP:
                throw Failure(
                    .badData, "a file or a symbolic link where a store has a directory", at: path(of: name))
            default: throw Failure.system("cannot open", at: path(of: name))
            }
        }
        return Directory(Descriptor(owning: number, name: path(of: name)), patience: patience)
    }

    /// The length in bytes of the file `name`, or nil where there is none.
    func length(of name: String) throws -> UInt64? {
        var status = stat()
        guard fstatat(number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
            guard errno == ENOENT else { throw Failure.system("cannot look at", at: path(of: name)) }
            return nil
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw Failure(.badData, "not a file, where a store has one", at: path(of: name))
        }
        guard let length = UInt64(exactly: status.st_size) else {
            throw Failure(.badData, "a file of \(status.st_size) bytes", at: path(of: name))
        }
        return length
    }

    /// The names of the entries, in no order.
    ///
    /// - Throws: `badData` where there are more than `most`.
    func names(atMost most: Int = mostNames) throws -> [String] { try descriptor.names(atMost: most) }

    /// Opens the file `name`. Directory entries that are no plain files are the caller's to rule out by `length(of:)`.
    func open(_ name: String, _ flags: Int32, mode: mode_t = 0) throws -> Descriptor {
        try Descriptor(opening: name, in: descriptor, flags | O_NOFOLLOW | O_NONBLOCK, mode: mode)
    }

    /// The whole content of a small file.
    func read(_ name: String, limit: Int) throws -> [UInt8] {
        guard try length(of: name) != nil else { throw Failure(.io, "gone", at: path(of: name)) }
        return try open(name, O_RDONLY).readAll(limit: limit)
    }

    /// Which one it lies on.
    func fileSystem() throws -> FileSystem { try FileSystem(of: descriptor) }

    // MARK: Changing

    /// The directory `name` in this one, made where it is missing, its name on stable storage.
    func making(_ name: String) throws -> Directory {
        if mkdirat(number, name, 0o755) != 0 && errno != EEXIST {
            throw Failure.system("cannot make the directory", at: path(of: name))
        }
        guard let directory = try directory(name) else { throw Failure(.io, "gone", at: path(of: name)) }
        // Also where it was there: whoever made it may have died before this.
        try sync()
        return directory
    }

    /// Gives a file another name in this directory, in place of whatever has it.
    func rename(_ old: String, to new: String) throws {
        guard renameat(number, old, number, new) == 0 else {
            throw Failure.system("cannot name", at: path(of: new))
        }
    }

    /// Gives a file a name that nothing has; the caller holds the lock, as not every file system can refuse by itself.
    func rename(_ old: String, toNew new: String) throws { try descriptor.rename(old, toNew: new) }

    /// Removes a file; where it cannot be removed it stays, for the next run or a person.
    func remove(_ name: String) {
        unlinkat(number, name, 0)
    }

    /// Brings the names in this directory to stable storage. A failure is final, as with `Descriptor.sync`.
    func sync() throws { try descriptor.syncNames() }

    /// Runs `body` alone among all who lock this directory.
    ///
    /// - Throws: `busy` where another one has it for longer than our patience; that says who.
    func locked<Result>(_ body: () throws -> Result) throws -> Result {
        let lock = try Lock(".lock", in: descriptor, within: patience)
        return try withExtendedLifetime(lock) { try body() }
    }
}
