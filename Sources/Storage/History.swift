import Plumbing

/// A domain's backups as the names in its metadata directory tell them; foreign files are passed over.
struct History {
    struct Entry: Equatable {
        let number: UInt64
        let blob: Address
        var name: String { History.name(of: blob, number: number) }
    }

    static let maximum: UInt64 = 9_999_999_999
    /// The most backups of a domain: one an hour for a century.
    static let longest = 1_000_000
    private static let digits = 10

    /// Ordered by number.
    let entries: [Entry]
    private let place: String

    init(in directory: Directory) throws {
        try self.init(of: directory.names(), at: directory.path(of: ""))
    }

    init(of names: [String], at place: String) throws {
        self.place = place
        entries = names.compactMap(History.entry).sorted { $0.number < $1.number }
        guard entries.count <= History.longest else { throw History.tooLong(History.longest, at: place) }
    }

    static func name(of blob: Address, number: UInt64) -> String {
        "\(number.padded(to: digits))-\(blob)"
    }

    private static func entry(_ name: String) -> Entry? {
        let parts = name.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, parts[0].utf8.count == digits,
            parts[0].utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = UInt64(parts[0]),
            let blob = try? Address(String(parts[1]))
        else { return nil }
        return Entry(number: number, blob: blob)
    }

    /// The head, or nil in an empty history.
    ///
    /// - Throws: `badData` where two entries claim to be it.
    func last() throws -> Entry? {
        try only(entries.last)
    }

    /// Every entry, ordered by number.
    ///
    /// - Throws: `badData` where a number or a blob is there twice.
    func all() throws -> [Entry] {
        for (one, other) in zip(entries, entries.dropFirst()) where one.number == other.number {
            throw twice("number", other.number)
        }
        var blobs: Set<Address> = []
        for entry in entries where !blobs.insert(entry.blob).inserted { throw twice("blob", entry.blob) }
        return entries
    }

    /// The entry with the next higher number, whatever that is, or the first; nil behind the head.
    ///
    /// - Throws: `notFound` where the blob is not in the history; `badData` where it, or what follows, is there twice.
    func next(after blob: Address?) throws -> Entry? {
        guard let blob else { return try only(entries.first) }
        let found = entries.filter { $0.blob == blob }
        guard let entry = found.first else {
            throw Failure(.notFound, "no backup with the blob \(blob)", at: place)
        }
        guard found.count == 1 else { throw twice("blob", blob) }
        return try only(entries.first { $0.number > entry.number })
    }

    private func only(_ entry: Entry?) throws -> Entry? {
        guard let entry else { return nil }
        guard entries.filter({ $0.number == entry.number }).count == 1 else {
            throw twice("number", entry.number)
        }
        return entry
    }

    static func tooLong(_ most: Int, at place: String) -> Failure {
        Failure(
            .badData, "the history does not end: it has more than \(most) backups", at: place,
            hint: "no store has so many; the store is broken, or means harm")
    }

    private func twice(_ what: String, _ value: any CustomStringConvertible) -> Failure {
        Failure(
            .badData, "two backups have the \(what) \(value)", at: place,
            hint: "were two stores copied into one? move the entry that does not belong away")
    }
}
