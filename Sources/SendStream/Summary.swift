public import JSON
import Plumbing

/// What a whole send stream said of itself.
public struct Summary: Equatable, Sendable {
    /// The UUID of the subvolume sent; the received UUID where that was received itself.
    public let uuid: String
    /// The same of the parent that it builds upon; nil for a full stream.
    public let parentUUID: String?
    /// Of the protocol.
    public let version: UInt32
    /// The length of the stream.
    public let bytes: UInt64
    /// How many bytes of file data a stream made with `--no-data` stands for; 0 in others.
    public let extentBytes: UInt64

    public init(uuid: String, parentUUID: String?, version: UInt32, bytes: UInt64, extentBytes: UInt64) {
        self.uuid = uuid
        self.parentUUID = parentUUID
        self.version = version
        self.bytes = bytes
        self.extentBytes = extentBytes
    }

    /// The record that `ep-seal --report` writes.
    public var record: JSON {
        [
            "stream": "btrfs",
            "type": .string(parentUUID == nil ? "full" : "incremental"),
            "uuid": .string(uuid),
            "parentUuid": parentUUID.map { .string($0) } ?? .null,
            "protocol": .integer(Int64(version)),
            "bytes": .integer(Int64(clamping: bytes)),
            "complete": true,
        ]
    }
}
