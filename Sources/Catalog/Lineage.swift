public import Plumbing

/// The store's head, held against the witness: the newest document that this machine has committed there.
public struct Lineage: Sendable {
    let domain: String
    let witness: Document?
    private(set) var head: Document?
    /// Whether each document behind the witness was made on the one before it, the first one on the witness.
    private var descends = true

    /// - Throws: `badData` where the witness is another domain's.
    public init(of domain: String, witness: Document?) throws {
        self.domain = domain
        self.witness = witness
        if let backup = witness?.metadata.backup, backup.domain != domain {
            throw Failure(.badData, "the witness belongs to \(backup.domain), not to \(domain)")
        }
    }

    /// Takes the next of the store's documents, oldest first; the last one is the head. Those up to the witness may be
    /// left out.
    ///
    /// - Throws: `badData`: of another domain, or not newer than the one before.
    public mutating func append(_ document: Document, at place: String) throws {
        let backup = document.metadata.backup
        guard backup.domain == domain else {
            throw Failure(
                .badData, "the store's metadata belongs to \(backup.domain), not to \(domain)", at: place,
                hint: "the store was mixed up or tampered with; no backup is planned on it")
        }
        if let before = head?.metadata.backup.generation, before >= backup.generation {
            throw Failure(
                .badData, "generation \(backup.generation) follows generation \(before)", at: place,
                hint: "give one document per line, oldest first")
        }
        if let witness, backup.generation > witness.metadata.backup.generation {
            let before = head.flatMap { $0.isNewer(than: witness) ? $0 : nil } ?? witness
            descends = descends && document.metadata.previous?.names(before) == true
        }
        head = document
    }

    /// Takes a whole history. What comes before the witness does not matter, even if it is damaged.
    ///
    /// - Throws: as the other one; `badData` or `io` where the newest document is not there to plan on.
    public mutating func append(_ history: borrowing Descriptor) throws {
        var (newest, isHeadMissing): (Document?, Bool) = (nil, false)
        let committed = witness?.metadata.backup.generation ?? 0
        try History.walk(history) { blob, line, place in
            if case .pruning = line { return }
            guard case .text(let text) = line, let document = try? Document(parsing: text, at: place) else {
                isHeadMissing = true
                return
            }
            (newest, isHeadMissing) = (document, false)
            if document.metadata.backup.generation > committed { try append(document, at: place) }
        }
        guard !isHeadMissing else {
            throw Failure(
                .badData, "the newest metadata of \(domain) cannot be opened", at: history.name,
                hint: "check that the key belongs to this store")
        }
        if head == nil, let newest { try append(newest, at: history.name) }
    }

    /// The generation that comes next: the store may have forgotten some, but a number is never given twice.
    var next: Int64 {
        max(head?.metadata.backup.generation ?? 0, witness?.metadata.backup.generation ?? 0) + 1
    }

    /// What a person must look into: the store went back to before the witness, or shows another history.
    var warning: String? {
        guard let witness else { return nil }
        let committed = "\(witness.metadata.backup.name), which this machine committed"
        guard let head else { return "rollback: the store has no backup of \(domain), not even \(committed)" }
        let found = "the store's newest backup is \(head.metadata.backup.name)"
        if witness.isNewer(than: head) { return "rollback: \(found), older than \(committed)" }
        let isSound = head.isNewer(than: witness) ? descends : head.sha512 == witness.sha512
        return isSound ? nil : "fork: \(found), which does not descend from \(committed)"
    }
}

extension Document {
    fileprivate func isNewer(than other: Document) -> Bool {
        metadata.backup.generation > other.metadata.backup.generation
    }
}

extension Backup {
    fileprivate var name: String { "generation \(generation) of \(date)" }
}
