import DurableFiles
import Glibc
import Plumbing

/// A store in a directory: `file:/path`, `file:///path`, the path as it stands, byte for byte: `file:$PWD` is right whatever
/// the directory is called.
struct DirectoryDriver: Driver {
    static let schemes = ["file"]
    static let form = "file:/path"
    static let hasFiles = true

    let path: String

    init(path: String) { self.path = path }

    init(scheme: String, rest: Substring) throws {
        let path = rest.hasPrefix("//") ? rest.dropFirst(2) : rest
        guard path.hasPrefix("/") else {
            throw Failure(
                .usage, rest.hasPrefix("//") ? "a file: URL cannot have a host" : "the path is not absolute")
        }
        self.path = String(path)
    }

    // Two slashes in front would name a host.
    var description: String { path.hasPrefix("//") ? "file://\(path)" : "file:\(path)" }

    var canonical: String { "file:" + Storage.canonical(path: path) }

    func withStore<Result>(
        for access: Access, told settings: Settings, _ body: (any Store) throws -> Result
    ) throws -> Result {
        try body(
            DirectoryStore(root: .store(at: path, patience: settings.patience), called: description))
    }

    func isApart(from path: String) throws -> Bool {
        let below = try Folder.store(at: self.path).fileSystem().andBelow()
        return !below.contains(try FileSystem(of: .folder(at: path)))
    }
}

extension Folder {
    /// The root of a store, reached as by `Descriptor.folder(at:)`.
    ///
    /// - Throws: `unavailable` where there is no directory of that path; `denied` at a link that others can have put there.
    static func store(at path: String, patience: Double = Settings().patience) throws -> Folder {
        var status = stat()
        let error = stat(path, &status) == 0 ? 0 : errno
        guard error != ENOENT else {
            throw Failure(
                .unavailable, "the store is not available", at: path,
                hint: "is its drive mounted? for a new store, create the directory first")
        }
        guard error == 0 ? status.st_mode & S_IFMT == S_IFDIR : error != ENOTDIR else {
            throw Failure(.unavailable, "the store is not a directory", at: path)
        }
        return Folder(try Descriptor.folder(at: path), patience: patience)
    }

    /// Which one it lies on.
    func fileSystem() throws -> FileSystem { try withDescriptor { try FileSystem(of: $0) } }
}
