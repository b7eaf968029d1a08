import JSON
public import Plumbing

/// A backup of a machine's member, as the document of the machine's own backup names it.
public struct NamedBackup: Equatable, Sendable {
    public let domain: String
    public let generation: Int64
    /// The blob: a SHA-256.
    public let sha256: String

    init(domain: String, generation: Int64, sha256: String) {
        self.domain = domain
        self.generation = generation
        self.sha256 = sha256
    }

    init(_ members: Members) throws {
        domain = try members.domain("domain")
        generation = try members.generation("generation")
        sha256 = try members.digest("sha256", bytes: 32)
    }

    var json: JSON {
        ["domain": .string(domain), "generation": .integer(generation), "sha256": .string(sha256)]
    }

    /// Reads the lines of a capsule, as `ep-meta member` prints them.
    ///
    /// - Throws: `badData`, naming the line.
    public static func lines(of input: borrowing Descriptor) throws -> [NamedBackup] {
        var all: [NamedBackup] = []
        try input.lines(upTo: 4096) { line, number in
            let place = "\(input.name), line \(number)"
            all.append(try NamedBackup(Members(of: JSON(parsing: line, at: place), at: place)))
        }
        return all
    }

    /// A document names so many at most.
    private static let most = 2000

    /// Those that the document of a backup names.
    ///
    /// - Throws: `badData` where one is in no domain below the backup's own, or two are in one.
    static func all(of members: Members, in backup: Backup) throws -> [NamedBackup] {
        let objects = try members.objects("members")
        guard 1...most ~= objects.count else {
            throw members.failure("members", "has \(objects.count) elements, not 1 to \(most)")
        }
        var domains: Set<String> = []
        return try objects.map { object in
            let it = try NamedBackup(object)
            guard it.domain.hasSuffix(".\(backup.domain)") else {
                throw object.failure("domain", "is \(it.domain), which is not below \(backup.domain)")
            }
            guard domains.insert(it.domain).inserted else {
                throw object.failure("domain", "is \(it.domain), for a second time")
            }
            return it
        }
    }
}

/// What sets of a machine name: the backups of its members that have to stay as long as those sets do.
public struct Naming: Sendable {
    public struct Item: Equatable, Sendable {
        public let backup: NamedBackup
        /// The generation of the set, which is that of the machine's own backup.
        public let set: Int64
    }

    /// By domain, and oldest set first; none where a volume is no machine.
    public let items: [Item]

    init(items: [Item]) { self.items = items }

    /// - Parameters:
    ///   - sets: some of the history's backups.
    ///   - store: what messages call it.
    /// - Throws: `badData` where one of them names none, though others do: it is not known what that one needs.
    public init(of sets: [Backup], in history: History, of store: String) throws {
        let blobs = Set(sets.map(\.sha256))
        let entries = history.entries.filter { blobs.contains($0.blob) }
        if entries.contains(where: { $0.members != nil }),
            let silent = entries.first(where: { $0.members == nil })?.backup
        {
            throw Failure(
                .badData,
                "generation \(silent.generation) does not name the backups of its members, as others do",
                at: store, hint: "nothing can be pruned while that one stays: nobody knows what it needs")
        }
        items = entries.flatMap { entry in
            (entry.members ?? []).map { Item(backup: $0, set: entry.backup?.generation ?? 0) }
        }.sorted { ($0.backup.domain, $0.set) < ($1.backup.domain, $1.set) }
    }

    /// Reads what `text` is.
    ///
    /// - Throws: `badData` where it is anything else, or cut.
    public init(from input: borrowing Descriptor) throws {
        var (items, isWhole): ([Item], Bool) = ([], false)
        func broken() -> Failure {
            Failure(
                .badData, "not what sets name", at: input.name, hint: "ep-meta retain --named writes it")
        }
        try input.lines(upTo: 4096) { line, _ in
            guard !isWhole else { throw broken() }
            let text = String(decoding: line, as: UTF8.self)
            if text == "end \(items.count)\n" {
                isWhole = true
                return
            }
            let words = text.dropLast().split(separator: " ", omittingEmptySubsequences: false).map(
                String.init)
            guard text.last == "\n", words.count == 4, words[0].isDomain, let generation = Int64(words[1]),
                words[2].isHex(bytes: 32), let set = Int64(words[3])
            else { throw broken() }
            let backup = NamedBackup(domain: words[0], generation: generation, sha256: words[2])
            items.append(Item(backup: backup, set: set))
        }
        guard isWhole else { throw broken() }
        self.items = items
    }

    /// A line for each: domain, generation and blob of the member's backup, and the generation of the set. The last line is
    /// `end` and the number of lines before it.
    public var text: String {
        items.map { "\($0.backup.domain) \($0.backup.generation) \($0.backup.sha256) \($0.set)\n" }.joined()
            + "end \(items.count)\n"
    }
}
