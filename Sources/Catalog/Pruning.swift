public import JSON
import Plumbing

/// A record of blobs that were taken away on purpose, or brought back: `escapepod-metadata(5)`.
public struct Pruning: Sendable {
    /// A backup whose blob it is about.
    public struct Item: Equatable, Sendable {
        public let generation: Int64
        /// The blob: a SHA-256.
        public let sha256: String

        public init(_ backup: Backup) {
            generation = backup.generation
            sha256 = backup.sha256
        }

        init(_ members: Members) throws {
            generation = try members.generation("generation")
            sha256 = try members.digest("sha256", bytes: 32)
        }

        var json: JSON { ["generation": .integer(generation), "sha256": .string(sha256)] }
    }

    public let domain: String
    /// When, RFC 3339, UTC, whole seconds.
    public let date: String
    /// What stays, in the words of whoever asked for it.
    public let policy: String
    public let pruned: [Item]
    public let recovered: [Item]

    public var isEmpty: Bool { pruned.isEmpty && recovered.isEmpty }

    public init(
        domain: String, at time: Time, policy: String, pruned: [Item] = [], recovered: [Item] = []
    ) {
        self.domain = domain
        self.date = time.date
        self.policy = policy
        self.pruned = pruned
        self.recovered = recovered
    }

    /// - Throws: `badData`, naming the member.
    public init(parsing bytes: [UInt8], at place: String) throws {
        let members = try Members(of: JSON(parsing: bytes, at: place), at: place)
        guard try members.integer("version") == 1 else {
            throw members.failure("version", "is not 1")
        }
        domain = try members.domain("domain")
        date = try members.date("date")
        policy = try members.text("policy")
        pruned = try members.objects("pruned").map(Item.init)
        recovered = try members.objects("recovered").map(Item.init)
    }

    public var json: JSON {
        [
            "version": 1, "domain": .string(domain), "date": .string(date), "policy": .string(policy),
            "pruned": .array(pruned.map(\.json)), "recovered": .array(recovered.map(\.json)),
        ]
    }
}
