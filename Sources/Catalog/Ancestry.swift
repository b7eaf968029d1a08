import JSON
import Plumbing

/// What a restore reads in front of a backup's parent, where that is not the full backup itself: so whoever has the newest
/// document alone knows how long its chain is, and which backup a differential one would build on.
public struct Ancestry: Equatable, Sendable {
    /// The full backup.
    public let root: Backup
    /// The one of the chain that builds on it.
    public let differential: Backup
    /// How many incremental ones are behind that, up to the parent, and their length in bytes.
    public let count: Int64
    public let size: Int64

    /// That of a backup which builds on this one; nil where this one is full.
    init?(upon parent: Metadata) {
        guard let differential = parent.differential else { return nil }
        root = parent.root
        self.differential = differential
        (count, size) = parent.behind
    }

    init(_ members: Members, of parent: Backup) throws {
        root = try Backup(members.object("root"))
        differential = try Backup(members.object("differential"))
        count = try members.count("count", from: 0, to: Backup.lastGeneration)
        size = try members.count("size", from: 0, to: 1 << 60)
        guard root.type == .full, root.domain == parent.domain else {
            throw members.failure("root", "is no full backup of \(parent.domain)")
        }
        let isInPlace =
            count == 0
            ? differential == parent
            : differential.type == .incremental && differential.generation < parent.generation
        guard isInPlace, root.generation < differential.generation, differential.domain == parent.domain
        else { throw members.failure("differential", "is not between root and parent") }
    }

    var json: JSON {
        [
            "root": root.json, "differential": differential.json, "count": .integer(count),
            "size": .integer(size),
        ]
    }
}

extension Metadata {
    /// The full backup that its chain starts with.
    var root: Backup { ancestry?.root ?? parent ?? backup }

    /// The backup of its chain that builds on the full one; nil for the full one itself.
    var differential: Backup? { parent == nil ? nil : ancestry?.differential ?? backup }

    /// The incremental ones behind that, up to this one, and their length in bytes.
    var behind: (count: Int64, size: Int64) {
        ancestry.map { ($0.count + 1, $0.size + backup.size) } ?? (0, 0)
    }
}
