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
    /// - Parameter snapshots: those that are here, the preferred ones first.
    public init(on lineage: Lineage, snapshots: [Snapshot]) {
        domain = lineage.domain
        warning = lineage.warning
        generation = lineage.next
        previous = (lineage.head ?? lineage.witness).map(Previous.init(of:))
        guard let head = lineage.head else {
            type = .full
            reason = "no backup of \(domain) in the store" + (lineage.witness == nil ? " yet" : "")
            (follows, headType, source, parent) = (nil, nil, nil, nil)
            return
        }
        let backup = head.metadata.backup
        let found = Plan.find(backup, in: snapshots)
        type = found.source == nil ? .full : .incremental
        reason = found.reason
        follows = backup.sha256
        headType = backup.type
        source = found.source
        parent = found.source == nil ? nil : backup
    }

    private static func find(_ head: Backup, in snapshots: [Snapshot]) -> (source: Source?, reason: String) {
        let name = "generation \(head.generation) (UUID \(head.uuid))"
        if let it = snapshots.first(where: { $0.isReadOnly && $0.sentUUID == head.uuid }) {
            return (
                Source(slot: it.slot, path: it.path, uuid: it.uuid),
                "the store's newest backup (generation \(head.generation), UUID \(head.uuid)) "
                    + "has its snapshot here, in \(printable(it.slot))"
            )
        }
        // Writable, it may have changed since; with another received UUID, a send would name it by that one.
        if let it = snapshots.first(where: { $0.uuid == head.uuid || $0.sentUUID == head.uuid }) {
            let fault = it.isReadOnly ? "has got a received UUID since" : "is no longer read-only"
            return (nil, "the snapshot of \(name) is here, in \(printable(it.slot)), but \(fault)")
        }
        return switch snapshots.count {
        case 0: (nil, "no snapshot here, so not the one of \(name); deleted by hand?")
        case 1: (nil, "the one snapshot here is not the one of \(name); deleted by hand?")
        default:
            (nil, "none of the \(snapshots.count) snapshots here is the one of \(name); deleted by hand?")
        }
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
        generation = try members.count("generation", from: 1)
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
