import Glibc
import Plumbing

/// The files that describe a machine, in a folder that only root can enter: escapepod-capsule(5).
public struct Capsule: Sendable {
    public let machine: Machine
    /// What tells this capsule from every other.
    public let identity: [UInt8]
    private let backups: [UInt8]?

    static let limit = 1 << 20

    public init(at path: String) throws {
        let folder = try Descriptor.folder(at: path)
        try folder.requirePrivate(hint: "it must be root's, with mode 0700")
        func read(_ name: String) throws -> [UInt8] {
            try Descriptor(opening: name, in: folder, O_RDONLY | O_NOFOLLOW | O_NONBLOCK).readAll(
                limit: Capsule.limit)
        }
        let bytes = try read(Capture.File.machine)
        machine = try Machine(parsing: bytes, at: folder.path(of: Capture.File.machine))
        backups = try? read(Capture.File.members)
        identity = bytes + (backups ?? [])
    }

    /// Each member with its place, one that lies in another behind it.
    ///
    /// - Throws: `badData` where there is no list of them, or not the right one.
    public func members() throws -> [(Place, MemberBackup)] {
        guard let backups else {
            throw Failure(
                .badData, "the capsule names no backups", at: Capture.File.members,
                hint: "it was not written by escapepod backup; take another generation")
        }
        return try MemberBackup.read(backups, of: machine, at: Capture.File.members)
    }
}
