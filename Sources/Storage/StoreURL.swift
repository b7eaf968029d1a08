import Plumbing

/// What names a store: `file:/path`, `file:///path`, `label:NAME`, `dunesea+https://HOST[:PORT]`.
///
/// A path is taken as it stands, byte for byte: `file:$PWD` is right whatever the directory is called.
public enum StoreURL: Equatable, Sendable, CustomStringConvertible {
    case directory(path: String)
    case drive(label: String)
    /// `authority` is HOST or HOST:PORT, as HTTP's URLs have it.
    case dunesea(authority: String, isEncrypted: Bool)

    /// - Throws: `usage`, which names the kinds that there are.
    public init(_ text: String) throws {
        func refuse(_ what: String) -> Failure {
            Failure(
                .usage, what, at: text,
                hint: "a store is file:/path, label:NAME or dunesea+https://HOST:PORT")
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
        case "dunesea+https", "dunesea+http":
            let authority = rest.dropFirst(2)
            guard rest.hasPrefix("//"), StoreURL.isAuthority(authority) else {
                throw refuse("not a server's HOST or HOST:PORT")
            }
            self = .dunesea(
                authority: String(authority), isEncrypted: text.hasPrefix("dunesea+https:"))
        default: throw refuse("no such kind of store")
        }
    }

    /// A host's name, an IPv4 address, or an IPv6 address in brackets; then perhaps a port.
    private static func isAuthority(_ text: Substring) -> Bool {
        let host: Substring
        let rest: Substring
        if text.hasPrefix("["), let end = text.firstIndex(of: "]") {
            host = text[text.index(after: text.startIndex)..<end]
            rest = text[text.index(after: end)...]
            guard
                host.utf8.allSatisfy({ $0.isHexDigit || $0 == UInt8(ascii: ":") || $0 == UInt8(ascii: ".") })
            else { return false }
        } else {
            let end = text.firstIndex(of: ":") ?? text.endIndex
            host = text[..<end]
            rest = text[end...]
            guard
                host.utf8.allSatisfy({
                    $0.isLetterOrDigit || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: ".")
                })
            else { return false }
        }
        let port = rest.dropFirst()
        return !host.isEmpty
            && (rest.isEmpty
                || rest.hasPrefix(":") && port.utf8.allSatisfy(\.isDigit) && UInt16(port) ?? 0 > 0)
    }

    /// Whether what is sent there stays on this machine.
    var isLoopback: Bool {
        guard case .dunesea(let authority, _) = self else { return true }
        if authority.hasPrefix("[") { return authority.hasPrefix("[::1]") }
        let host = authority.prefix { $0 != ":" }
        // A number with a zero in front is octal to libcurl.
        let numbers = host.split(separator: ".", omittingEmptySubsequences: false).map { part in
            UInt8(part).flatMap { String($0) == part ? $0 : nil }
        }
        return host == "localhost" || numbers.count == 4 && numbers[0] == 127 && !numbers.contains(nil)
    }

    public var description: String {
        switch self {
        // Two slashes in front would name a host.
        case .directory(let path): path.hasPrefix("//") ? "file://\(path)" : "file:\(path)"
        case .drive(let label): "label:\(label)"
        case .dunesea(let authority, let isEncrypted):
            "dunesea+\(isEncrypted ? "https" : "http")://\(authority)"
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
/// - Parameter remote: how a store elsewhere is reached, and how long any store is waited for.
/// - Throws: `unavailable` where there is no such directory or drive; `badData` where more than one drive has the
///   label; `denied` without permission; `usage` where a token would be sent in the clear; and what `body` throws.
public func withStore<Result>(
    at url: StoreURL, for access: Access, as remote: Remote = Remote(), _ body: (any Store) throws -> Result
) throws -> Result {
    switch url {
    case .directory(let path):
        return try body(DirectoryStore(root: Directory(root: path, patience: remote.patience), called: url))
    case .drive(let label):
        return try withDrive(labelled: label, for: access, patience: remote.patience) { root in
            try body(DirectoryStore(root: root, called: url))
        }
    case .dunesea(let authority, let isEncrypted):
        guard isEncrypted || url.isLoopback || remote.isInsecure else {
            throw Failure(
                .usage, "the token would go over the network in the clear", at: "\(url)",
                hint: "use dunesea+https:, or say --insecure if the way is safe by other means")
        }
        let base = "\(isEncrypted ? "https" : "http")://\(authority)"
        let http = try HTTP(base, isLocal: url.isLoopback, token: remote.token(for: "\(url)"), as: remote)
        return try body(DuneSeaStore(http, called: url, as: remote))
    }
}

extension UInt8 {
    fileprivate var isDigit: Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(self) }
    fileprivate var isHexDigit: Bool {
        isDigit || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(self | 0x20)
    }
    fileprivate var isLetterOrDigit: Bool {
        isDigit || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(self | 0x20)
    }
}
