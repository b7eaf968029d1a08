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
