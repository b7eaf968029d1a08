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
    /// The head, where the backup is incremental.
    public let parent: Backup?

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
    /// - Throws: `badData` where no number is left for the backup.
    public init(on lineage: Lineage, snapshots: [Snapshot], stubs: [Stub] = []) throws {
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
        guard let head = lineage.head else {
            type = .full
            reason = "no backup of \(domain) in the store" + (lineage.witness == nil ? " yet" : "")
            (follows, headType, source, parent) = (nil, nil, nil, nil)
            return
        }
        let backup = head.metadata.backup
        let found = Plan.find(backup, in: snapshots, stubs)
        type = found.source == nil ? .full : .incremental
        reason = found.reason
        follows = backup.sha256
        headType = backup.type
        source = found.source
        parent = found.source == nil ? nil : backup
    }

    private static func find(
        _ head: Backup, in snapshots: [Snapshot], _ stubs: [Stub]
    ) -> (source: Source?, reason: String) {
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
        parent = try members.objectOrNull("parent").map(Backup.init)
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
