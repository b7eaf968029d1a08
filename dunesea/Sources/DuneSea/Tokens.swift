import DurableFiles
import Glibc
import OpenSSL
import Plumbing
public import StoreFormat
import Synchronization

/// Who may do what: one line a token in `DIR/dunesea/tokens`, which holds the SHA-256 of each and never the token.
///
/// ```
/// SHA256 DOMAIN append,read 2026-11-23T06:10:00Z
/// ```
/// A token has 256 random bits, so a plain digest keeps it as well as a slow one.
public struct Tokens: Sendable {
    public struct Rights: OptionSet, Sendable, CustomStringConvertible {
        public let rawValue: Int
        public init(rawValue: Int) { self.rawValue = rawValue }
        public static let append = Rights(rawValue: 1)
        public static let read = Rights(rawValue: 2)
        /// The domains below it, too: those of a whole system's subvolumes.
        public static let below = Rights(rawValue: 4)
        public static let prune = Rights(rawValue: 8)

        private static let words: [(right: Rights, word: String)] = [
            (.append, "append"), (.read, "read"), (.prune, "prune"), (.below, "below"),
        ]

        public var description: String {
            Rights.words.filter { contains($0.right) }.map(\.word).joined(separator: ",")
        }

        /// Whether whoever has these in a domain has them in the other one.
        func open(_ other: Domain, of domain: Domain) -> Bool {
            other == domain || contains(.below) && other.description.hasSuffix(".\(domain)")
        }

        /// - Parameter text: as `description` has it.
        public init?(_ text: some StringProtocol) {
            self = []
            for word in text.split(separator: ",") {
                guard let known = Rights.words.first(where: { $0.word == word }) else { return nil }
                insert(known.right)
            }
        }
    }

    public struct Entry: Sendable {
        let digest: String
        public let domain: Domain
        public let rights: Rights
        /// RFC 3339, UTC.
        public let created: String

        /// What a person calls it by: the first digits of its digest.
        public var id: String { String(digest.prefix(12)) }

        fileprivate func opens(_ other: Domain) -> Bool { rights.open(other, of: domain) }

        var line: String { "\(digest) \(domain) \(rights) \(created)\n" }

        init(digest: String, domain: Domain, rights: Rights, created: String) {
            self.digest = digest
            self.domain = domain
            self.rights = rights
            self.created = created
        }

        init?(line: Substring) {
            let words = line.split(separator: " ")
            guard words.count == 4, let digest = try? Address(words[0]), let domain = try? Domain(words[1]),
                let rights = Rights(words[2]), words[3].utf8.allSatisfy({ (0x21...0x7e).contains($0) })
            else { return nil }
            self.init(
                digest: digest.description, domain: domain, rights: rights, created: String(words[3]))
        }
    }

    public private(set) var entries: [Entry] = []
    private static let longest = 16 << 20

    static let file = "tokens"

    init() {}

    /// Blocks. No file means no tokens.
    public init(in directory: String) throws {
        guard let own = try Folder(.folder(at: directory)).folder(Places.ownName) else {
            self.init()
            return
        }
        try self.init(in: own)
    }

    /// - Parameter own: the folder that is the server's own.
    init(in own: Folder) throws {
        guard try own.length(ofFile: Tokens.file) != nil else { return }
        let bytes = try own.read(Tokens.file, limit: Tokens.longest)
        // By bytes: to Swift, a carriage return and a line feed are one character.
        for (index, line) in bytes.split(separator: UInt8(ascii: "\n")).enumerated() {
            guard let entry = Entry(line: String(decoding: line, as: UTF8.self)[...]) else {
                throw Failure(
                    .badData, "not a token entry", at: "\(own.path(of: Tokens.file)), line \(index + 1)",
                    hint: "remove that line, then create the token again")
            }
            entries.append(entry)
        }
    }

    /// What `token` may do in `domain`; nil where it does not open it, for whatever reason.
    ///
    /// Looks at every entry, and at every digit of it, so that the time says nothing of the digests.
    func rights(of token: String, in domain: Domain) -> Rights? {
        guard let digest = try? Digest.hex(.sha256, of: Array(token.utf8)) else { return nil }
        var rights: Rights?
        for entry in entries {
            let difference = zip(entry.digest.utf8, digest.utf8).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) }
            if difference == 0, entry.opens(domain) { rights = entry.rights }
        }
        return rights
    }
}

// MARK: - The operator's side

extension Tokens {
    /// Makes a token. Blocks.
    ///
    /// - Returns: the token, which is kept nowhere.
    public static func add(_ domain: Domain, _ rights: Rights, in directory: String) throws -> String {
        let token = "dunesea-\(randomHex(bytes: 32))"
        let digest = try Digest.hex(.sha256, of: Array(token.utf8))
        let entry = Entry(digest: digest, domain: domain, rights: rights, created: timestamp())
        try change(in: directory) { $0.append(entry) }
        return token
    }

    /// Takes a token's rights away. Blocks.
    ///
    /// - Parameter id: as `Entry.id` has it.
    public static func remove(_ id: String, in directory: String) throws {
        try change(in: directory) { entries in
            let kept = entries.filter { $0.id != id }
            guard kept.count < entries.count else {
                throw Failure(.notFound, "no such token", at: id, hint: "dunesea token list shows them")
            }
            entries = kept
        }
    }

    private static func change(in directory: String, _ change: (inout [Entry]) throws -> Void) throws {
        try Places.becomeOwner(of: directory)
        let own = try Places.own(in: Folder(.folder(at: directory)))
        let lock = try own.withDescriptor { try Lock("tokens.lock", in: $0, within: 30) }
        defer { withExtendedLifetime(lock) {} }
        var tokens = try Tokens(in: own)
        try change(&tokens.entries)
        try own.put(
            Array(tokens.entries.map(\.line).joined().utf8), as: Tokens.file, stagedAs: "tokens.new",
            mode: 0o600,
            taken: .replaced)
    }

    private static func timestamp() -> String {
        var now = time(nil)
        var parts = tm()
        gmtime_r(&now, &parts)
        var text = [CChar](repeating: 0, count: 32)
        strftime(&text, text.count, "%Y-%m-%dT%H:%M:%SZ", &parts)
        return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init), as: UTF8.self)
    }
}

/// The tokens as the server sees them: read again when the file is another.
final class TokenCache: Sendable {
    private struct Seen {
        var tokens = Tokens()
        var file: [Int] = []
    }

    private let directory: String
    private let seen: Mutex<Seen>

    /// Blocks.
    init(directory: String) throws {
        self.directory = directory
        seen = Mutex(Seen())
        _ = try current()
    }

    /// Blocks. A file that cannot be read or understood is an error for everybody, never an open door.
    func current() throws -> Tokens {
        var status = stat()
        let there = stat("\(directory)/\(Places.ownName)/\(Tokens.file)", &status) == 0
        let file =
            there
            ? [
                Int(truncatingIfNeeded: status.st_ino), Int(status.st_size), status.st_mtim.tv_sec,
                status.st_mtim.tv_nsec,
            ] : []
        return try seen.withLock { seen in
            if seen.file != file {
                seen.tokens = try Tokens(in: directory)
                seen.file = file
            }
            return seen.tokens
        }
    }
}
