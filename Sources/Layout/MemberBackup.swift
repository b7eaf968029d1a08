import JSON
import Plumbing

/// What a capsule says of the backups that belong together: a line for each member, written when all of them are in the store.
public struct MemberBackup: Equatable, Sendable {
    public let label: String
    public let domain: String
    public let generation: Int64
    public let blob: String
    /// The name of the folder of its slots.
    public let folder: String

    /// Reads the lines, and holds them against the machine's subvolumes: each has one.
    ///
    /// - Throws: `badData`.
    public static func read(_ bytes: [UInt8], of machine: Machine, at place: String) throws -> [(
        Place, MemberBackup
    )] {
        let all = try bytes.split(separator: UInt8(ascii: "\n")).map {
            try MemberBackup(Members(of: JSON(parsing: Array($0), at: place), at: place))
        }
        guard Set(all.map(\.label)) == Set(machine.subvolumes.map(\.label)),
            all.count == machine.subvolumes.count,
            Set(all.map(\.domain)).count == all.count
        else {
            throw Failure(
                .badData, "the backups are not those of the machine's subvolumes", at: place,
                hint: "the capsule is damaged; take an earlier generation")
        }
        // One that lies in another comes after it.
        return machine.subvolumes.sorted { $0.path.utf8.count < $1.path.utf8.count }.flatMap { subvolume in
            all.filter { $0.label == subvolume.label }.map { (subvolume, $0) }
        }
    }

    private init(_ members: Members) throws {
        label = try members.string("label")
        domain = try members.string("domain")
        generation = try members.integer("generation")
        blob = try members.string("sha256")
        folder = try members.string("folder")
        guard domain.isDomain, domain.hasPrefix("\(label)."), generation > 0, blob.isHex(bytes: 32),
            folder.lowercased().isDomain, folder.utf8.count <= 64
        else { throw members.failure("domain", "is not that of a member's backup") }
    }
}
