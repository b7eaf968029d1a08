public import Plumbing

/// The documents or the keys of a domain, as the names in their folder tell them; foreign files are passed over.
public struct History: Sendable {
    /// Ordered by number.
    public let entries: [Entry]
    private let place: String

    /// - Throws: `badData` where there are more than `StoreLimits.history`.
    public init(of names: [String], at place: String) throws {
        self.place = place
        entries = names.compactMap(Entry.init(name:)).sorted { $0.number < $1.number }
        guard entries.count <= StoreLimits.history else {
            throw History.tooLong(StoreLimits.history, at: place)
        }
    }

    /// The head, or nil in an empty history.
    ///
    /// - Throws: `badData` where two entries claim to be it.
    public func last() throws -> Entry? {
        guard let last = entries.last else { return nil }
        guard entries.dropLast().last?.number != last.number else { throw twice("number", last.number) }
        return last
    }

    /// Every entry, ordered by number.
    ///
    /// - Throws: `badData` where a number or an address is there twice.
    public func all() throws -> [Entry] {
        for (one, other) in zip(entries, entries.dropFirst()) where one.number == other.number {
            throw twice("number", other.number)
        }
        var blobs: Set<Address> = []
        for entry in entries where !blobs.insert(entry.address).inserted {
            throw twice("blob", entry.address)
        }
        return entries
    }

    /// What to say of a history that has more than `most` backups.
    public static func tooLong(_ most: Int, at place: String) -> Failure {
        Failure(
            .badData, "the history does not end: it has more than \(most) backups", at: place,
            hint: "no real store has that many; this one is broken or malicious")
    }

    private func twice(_ what: String, _ value: any CustomStringConvertible) -> Failure {
        Failure(
            .badData, "two backups have the \(what) \(value)", at: place,
            hint: "were two stores merged? move the entry that does not belong there elsewhere")
    }
}
