import CBtrfsUtil
import Glibc
public import JSON
import Plumbing

/// What is known of a subvolume: the record that `ep-snap list` prints and `ep-plan` reads.
public struct Snapshot: Equatable, Sendable {
    /// The slot that it lies in; nil where it lies elsewhere.
    public let slot: Slot?
    /// Absolute.
    public let path: String
    public let uuid: String
    /// The UUID that it had where it was sent from; nil where it was never received.
    public let receivedUUID: String?
    /// The UUID of the subvolume that it is a snapshot of; nil if it is not a snapshot.
    let parentUUID: String?
    /// The transaction that changed it last.
    public let generation: UInt64
    /// The transaction that changed what is in it last.
    public let contentTransaction: UInt64
    /// When it was made, in seconds since 1970.
    let created: Int
    public let isReadOnly: Bool
    /// Whether something in it was changed after it was made, read-only or not: `ctransid` against `otransid` of its root
    /// item (linux/btrfs_tree.h). Balancing, scrubbing, quotas and a change of the read-only flag alone do not count.
    public let isChanged: Bool

    public init(of subvolume: borrowing Subvolume, slot: Slot? = nil) throws {
        let number = subvolume.directory.number
        var info = btrfs_util_subvolume_info()
        var readOnly = false
        let what = "cannot query the subvolume"
        try btrfs(what, at: subvolume.path) { btrfs_util_subvolume_info_fd(number, 0, &info) }
        try btrfs(what, at: subvolume.path) { btrfs_util_get_subvolume_read_only_fd(number, &readOnly) }
        self.slot = slot
        self.path = subvolume.path
        self.uuid = withUnsafeBytes(of: info.uuid) { Array($0) }.uuid
        self.receivedUUID = uuidOrNil(info.received_uuid)
        self.parentUUID = uuidOrNil(info.parent_uuid)
        self.isChanged = info.ctransid > info.otransid
        self.generation = info.generation
        self.contentTransaction = info.ctransid
        self.created = info.otime.tv_sec
        self.isReadOnly = readOnly
    }

    /// RFC 3339, in UTC, to the second.
    public var date: String {
        var seconds = created
        var parts = tm()
        gmtime_r(&seconds, &parts)
        var text = [CChar](repeating: 0, count: 40)
        let count = strftime(&text, text.count, "%Y-%m-%dT%H:%M:%SZ", &parts)
        return String(decoding: text.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    public var record: JSON {
        [
            "slot": slot.map { .string($0.rawValue) } ?? .null,
            "path": .string(path),
            "uuid": .string(uuid),
            "receivedUuid": receivedUUID.map { .string($0) } ?? .null,
            "generation": .integer(Int64(clamping: generation)),
            "created": .string(date),
            "readOnly": .bool(isReadOnly),
            "changed": .bool(isChanged),
        ]
    }
}

/// The 16 bytes of a UUID as text; nil where they are all zero.
func uuidOrNil(_ bytes: some BitwiseCopyable) -> String? {
    let bytes = withUnsafeBytes(of: bytes) { Array($0) }
    return bytes.allSatisfy { $0 == 0 } ? nil : bytes.uuid
}
