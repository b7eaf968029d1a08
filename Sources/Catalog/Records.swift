public import JSON

/// A snapshot as `ep-snap` lists it.
public struct Snapshot: Sendable {
    public let slot: String
    public let path: String
    public let uuid: String
    public let receivedUUID: String?
    /// When it was taken, RFC 3339, UTC, whole seconds.
    public let created: String
    public let isReadOnly: Bool
    /// Whether something in it was changed after it was taken.
    public let isChanged: Bool

    /// - Throws: `badData`, naming the member.
    public init(_ record: JSON, at place: String) throws {
        let members = try Members(of: record, at: place)
        slot = try members.text("slot")
        path = try members.text("path")
        uuid = try members.uuid("uuid")
        receivedUUID = try members.uuidOrNull("receivedUuid")
        created = try members.date("created")
        isReadOnly = try members.bool("readOnly")
        isChanged = try members.bool("changed")
    }

    /// The UUID by which a send stream names this snapshot, as itself and as a parent: the received one where it has one.
    public var sentUUID: String { receivedUUID ?? uuid }
}

/// A slot without its snapshot, which stayed where the volume was before a rollback, as `ep-snap` lists it.
public struct Stub: Sendable {
    public let slot: String
    /// Snapshots elsewhere on the file system that may be the one.
    let elsewhere: [(path: String, uuid: String, receivedUUID: String?)]

    /// - Returns: nil for the record of a snapshot.
    /// - Throws: `badData`, naming the member.
    public init?(_ record: JSON, at place: String) throws {
        let members = try Members(of: record, at: place)
        guard members.contains("stub") else { return nil }
        slot = try members.text("slot")
        guard case .array(let records)? = record["elsewhere"] else {
            throw members.failure("elsewhere", "is not an array")
        }
        elsewhere = try records.map {
            let members = try Members(of: $0, at: "\(place), elsewhere")
            return (
                try members.text("path"), try members.uuid("uuid"), try members.uuidOrNull("receivedUuid")
            )
        }
    }
}

/// What `ep-seal --report` says of a btrfs send stream.
public struct Report: Sendable {
    public let type: BackupType
    public let uuid: String
    public let parentUUID: String?
    /// The version of the protocol of btrfs send.
    public let sendProtocol: Int64
    /// The stream's length in bytes, before it was sealed.
    public let bytes: Int64
    /// To how many bytes it was compressed before it was sealed; nil where it was not.
    public let compressed: Int64?

    /// - Throws: `badData`, naming the member; also for a stream that is truncated or not of btrfs.
    public init(_ record: JSON, at place: String) throws {
        let members = try Members(of: record, at: place)
        guard try members.string("stream") == "btrfs" else {
            throw members.failure("stream", "is not btrfs: no send stream was sealed")
        }
        guard try members.bool("complete") else {
            throw members.failure("complete", "is false: the send stream was truncated")
        }
        type = try members.type("type")
        uuid = try members.uuid("uuid")
        parentUUID = try members.uuidOrNull("parentUuid")
        sendProtocol = try members.count("protocol", from: 1)
        bytes = try members.count("bytes", from: 1)
        compressed = members.contains("compressed") ? try members.count("compressed", from: 1) : nil
    }
}

/// What `ep-store blob` says of the sealed blob that it keeps.
public struct Receipt: Sendable {
    public let size: Int64
    public let sha256: String
    public let sha512: String

    /// - Throws: `badData`, naming the member.
    public init(_ record: JSON, at place: String) throws {
        let members = try Members(of: record, at: place)
        size = try members.size("size")
        sha256 = try members.digest("sha256", bytes: 32)
        sha512 = try members.digest("sha512", bytes: 64)
    }
}
