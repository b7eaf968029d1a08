import Plumbing

/// What names a store: `file:/path`, `file:///path`, `label:NAME`.
///
/// A path is taken as it stands, byte for byte: `file:$PWD` is right whatever the directory is called.
public enum StoreURL: Equatable, Sendable, CustomStringConvertible {
    case directory(path: String)
    case drive(label: String)

    /// - Throws: `usage`, which names the kinds that there are.
    public init(_ text: String) throws {
        func refuse(_ what: String) -> Failure {
            Failure(
                .usage, what, at: text,
                hint: "a store is file:/path, file:///path or label:NAME")
        }
        guard let colon = text.firstIndex(of: ":") else { throw refuse("not a store's URL") }
        let rest = text[text.index(after: colon)...]
        switch text[..<colon] {
        case "file":
            let path = rest.hasPrefix("//") ? rest.dropFirst(2) : rest
            guard path.hasPrefix("/") else {
                throw refuse(
                    rest.hasPrefix("//") ? "a file: URL names no host" : "the path is not absolute")
            }
            self = .directory(path: String(path))
        case "label":
            guard !rest.isEmpty else { throw refuse("not a drive's label") }
            self = .drive(label: String(rest))
        default: throw refuse("no such kind of store")
        }
    }

    public var description: String {
        switch self {
        case .directory(let path): "file:\(path)"
        case .drive(let label): "label:\(label)"
        }
    }
}

/// What a store is opened for: a drive that is only read from is mounted read-only.
public enum Access: Sendable {
    case reading
    case writing
}

/// Opens a store, and closes it again when `body` has ended, however it ends; a drive that had to be mounted for it
/// is unmounted.
///
/// - Throws: `unavailable` where there is no such directory or drive; `badData` where more than one drive has the
///   label; `denied` without permission; and what `body` throws.
public func withStore<Result>(
    at url: StoreURL, for access: Access, _ body: (any Store) throws -> Result
) throws -> Result {
    switch url {
    case .directory(let path):
        return try body(DirectoryStore(root: Directory(root: path), called: url))
    case .drive(let label):
        return try withDrive(labelled: label, for: access) { root in
            try body(DirectoryStore(root: root, called: url))
        }
    }
}
