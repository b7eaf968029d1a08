public import JSON
import Plumbing

/// The decision, full or incremental, and what the next document is to be linked to.
public struct Plan: Sendable {
    public let type: BackupType
    /// Why, in a sentence for a person; safe to print on a terminal.
    public let reason: String
    /// What a person has to look into, its name in front: `rollback: …` or `fork: …`; nil where all is as it should be.
    public let warning: String?
    public let generation: Int64
    public let domain: String
    /// The SHA-256 of the head's blob; nil where the store has no backup yet.
    public let follows: String?
    public let headType: BackupType?
    /// The snapshot here that an incremental backup starts from.
    public let source: Source?
    public let previous: Previous?
    /// What an incremental backup builds on: the head, or the full one of its chain.
    public let parent: Backup?
    let ancestry: Ancestry?

    public struct Source: Sendable {
        public let slot: String
        public let path: String
        public let uuid: String
    }
}

// MARK: - Deciding

extension Plan {
    /// - Parameters:
    ///   - snapshots: those that are here, the preferred ones first.
    ///   - stubs: slots without theirs.
    ///   - now: for the ages in the policy.
    /// - Throws: `badData` where no number is left for the backup.
    public init(
        on lineage: Lineage, snapshots: [Snapshot], stubs: [Stub] = [], policy: Policy, at now: Time
    ) throws {
        domain = lineage.domain
        warning = lineage.warning
        generation = lineage.next
        guard generation <= Backup.lastGeneration else {
            throw Failure(
                .badData, "generation \(Backup.lastGeneration) is the last possible one", at: domain,
                hint:
                    "nobody makes that many: somebody with the key forged it; create a new key, and continue under another domain"
            )
        }
        previous = (lineage.head ?? lineage.witness).map(Previous.init(of:))
        guard let head = lineage.head?.metadata else {
            type = .full
            reason = "no backup of \(domain) in the store" + (lineage.witness == nil ? " yet" : "")
            (follows, headType, source, parent, ancestry) = (nil, nil, nil, nil, nil)
            return
        }
        follows = head.backup.sha256
        headType = head.backup.type
        let choice = Plan.choose(on: head, policy.verdict(on: head, at: now)) {
            Plan.find($0, in: snapshots, stubs)
        }
        type = choice.parent == nil ? .full : .incremental
        (reason, source, parent) = (choice.reason, choice.source, choice.parent)
        ancestry = parent == head.backup ? Ancestry(upon: head) : nil
    }

    private typealias Found = (source: Source?, reason: String)

    /// What to build on: the head, or the full one of its chain, or nothing.
    private static func choose(
        on head: Metadata, _ verdict: Policy.Verdict, _ find: (Backup) -> Found
    ) -> (reason: String, source: Source?, parent: Backup?) {
        let newest = find(head.backup)
        // Its snapshot has to move on, before anything else.
        if newest.source?.slot == "current-state" { return (newest.reason, newest.source, head.backup) }
        switch verdict {
        case .full(let why): return (why, nil, nil)
        case .incremental where newest.source != nil: return (newest.reason, newest.source, head.backup)
        case .incremental where head.differential == nil: return (newest.reason, nil, nil)
        case .incremental: return differential(newest.reason) { _ in newest.reason }
        case .differential(let why): return differential(why) { "\(why), but \($0)" }
        }
        func differential(
            _ why: String, orFull reason: (String) -> String
        ) -> (String, Source?, Backup?) {
            let root = find(head.root)
            guard let source = root.source else { return (reason(root.reason), nil, nil) }
            return (
                "differential, from the full backup, generation \(head.root.generation), "
                    + "whose snapshot is here, in \(printable(source.slot)): \(why)", source, head.root
            )
        }
    }

    private static func find(_ head: Backup, in snapshots: [Snapshot], _ stubs: [Stub]) -> Found {
        let name = "generation \(head.generation) (UUID \(head.uuid))"
        let fits = snapshots.filter { $0.isReadOnly && $0.sentUUID == head.uuid }
        if let it = fits.first(where: { !$0.isChanged }) {
            return (
                Source(slot: it.slot, path: it.path, uuid: it.uuid),
                "the store's newest backup (generation \(head.generation), UUID \(head.uuid)) "
                    + "has its snapshot here, in \(printable(it.slot))"
            )
        }
        // A changed snapshot is not what the store has. A writable one may have changed since; one with another received
        // UUID would be named by that one in a send stream.
        let others = snapshots.filter { $0.uuid == head.uuid || $0.sentUUID == head.uuid }
        if let it = fits.first ?? others.first {
            let fault =
                !it.isReadOnly
                ? "is no longer read-only"
                : it.sentUUID == head.uuid ? "has changed since" : "has got a received UUID since"
            return (nil, "the snapshot of \(name) is here, in \(printable(it.slot)), but \(fault)")
        }
        if !stubs.isEmpty { return (nil, Plan.reason(of: stubs, without: head, called: name)) }
        return switch snapshots.count {
        case 0: (nil, "the snapshot of \(name) is not here, nor is any other; deleted by hand?")
        case 1: (nil, "the only snapshot here is not that of \(name); deleted by hand?")
        default:
            (nil, "none of the \(snapshots.count) snapshots here is that of \(name); deleted by hand?")
        }
    }

    private static func reason(of stubs: [Stub], without head: Backup, called name: String) -> String {
        let slots = stubs.map { printable($0.slot) }.joined(separator: ", ")
        let what = "the volume was replaced by a snapshot of itself, so its slots are stubs (\(slots)); "
        let it = stubs.flatMap(\.elsewhere).first { ($0.receivedUUID ?? $0.uuid) == head.uuid }
        return what
            + (it.map { "that of \(name) is still on the file system, as \(printable($0.path))" }
                ?? "that of \(name) remained in the previous volume")
    }
}

// MARK: - Records

extension Plan {
    /// The record that `ep-plan` prints.
    public var json: JSON {
        [
            "type": .string(type.rawValue),
            "reason": .string(reason),
            "warning": warning.map { .string($0) } ?? .null,
            "generation": .integer(generation),
            "domain": .string(domain),
            "follows": follows.map { .string($0) } ?? .null,
            "headType": headType.map { .string($0.rawValue) } ?? .null,
            "snapshot": source?.json ?? .null,
            "previous": previous?.json ?? .null,
            "parent": parent?.json ?? .null,
            "chain": ancestry?.json ?? .null,
        ]
    }

    /// Reads a record that `ep-plan` printed.
    ///
    /// - Throws: `badData`, naming the member.
    public init(_ record: JSON, at place: String) throws {
        let members = try Members(of: record, at: place)
        type = try members.type("type")
        reason = try members.text("reason")
        warning = try members.stringOrNull("warning") == nil ? nil : members.text("warning")
        generation = try members.generation("generation")
        domain = try members.domain("domain")
        let hasHead = try members.stringOrNull("follows") != nil
        follows = hasHead ? try members.digest("follows", bytes: 32) : nil
        headType = hasHead ? try members.type("headType") : nil
        source = try members.objectOrNull("snapshot").map(Source.init)
        previous = try members.objectOrNull("previous").map(Previous.init)
        let parent = try members.objectOrNull("parent").map(Backup.init)
        ancestry = try parent.flatMap { parent in
            try members.objectOrNull("chain").map { try Ancestry($0, of: parent) }
        }
        self.parent = parent
    }
}

extension Plan.Source {
    init(_ members: Members) throws {
        slot = try members.text("slot")
        path = try members.text("path")
        uuid = try members.uuid("uuid")
    }

    var json: JSON { ["slot": .string(slot), "path": .string(path), "uuid": .string(uuid)] }
}
