import Glibc
import Plumbing

/// What is known of the disk that a machine is to come back on.
public struct Target: Equatable, Sendable {
    let path: String
    let size: Int64
    let sector: Int64
    let serial: String?
    let model: String
    let driver: String
    /// The id of its partition table; nil where it has none.
    let tableID: String?
    /// Whether nothing is known on it, and both ends are zeros.
    let isEmpty: Bool
    /// What is on it, for people, a line each.
    let contents: [String]
    /// Why nothing may be written to it, whoever says so.
    let obstacle: Obstacle?

    struct Obstacle: Equatable, Sendable {
        let status: ExitStatus
        let what: String
        let hint: String
    }

    /// How much at each end of an empty disk is zeros.
    private static let end: Int64 = 1 << 20

    init(
        path: String, size: Int64, sector: Int64, serial: String? = nil, model: String = "",
        driver: String = "",
        tableID: String? = nil, isEmpty: Bool = true, contents: [String] = [], obstacle: Obstacle? = nil
    ) {
        self.path = path
        self.size = size
        self.sector = sector
        self.serial = serial
        self.model = model
        self.driver = driver
        self.tableID = tableID
        self.isEmpty = isEmpty
        self.contents = contents
        self.obstacle = obstacle
    }

    /// Looks at a disk, and at all others.
    ///
    /// - Parameters:
    ///   - machine: whose file systems would be on it: none of them may be anywhere else.
    ///   - store: the label of the drive that has the backups.
    ///   - isDrill: the machine itself may be here.
    public init(at path: String, for machine: Machine, sparing store: String, isDrill: Bool = false) throws {
        let disk = try BlockDevice(at: path)
        guard disk.partition == nil else {
            throw Failure(.usage, "a partition, and not a disk", at: path, hint: "give \(disk.disk.path)")
        }
        let tags = try disk.probe()
        let partitions = try disk.partitions.map { ($0, try $0.probe()) }
        contents = ([(disk, tags)] + partitions).compactMap { device, tags in
            let what = [
                tags["TYPE"] ?? tags["PTTYPE"].map { "a partition table (\($0))" },
                tags["LABEL"].map { "'\($0)'" },
            ]
            .compactMap { $0 }
            return what.isEmpty && device == disk
                ? nil
                : "\(device.path)  \(readable(bytes: UInt64(device.size)))  \(what.isEmpty ? "unknown" : what.joined(separator: " "))"
        }
        isEmpty = try tags.isEmpty && partitions.isEmpty && Target.hasZeros(disk)
        let own =
            isDrill
            ? []
            : machine.disk.partitions.flatMap { [$0.encryption?.uuid, $0.content?.uuid] }
                .compactMap { $0 }
        obstacle = try Target.obstacle(disk, [(disk, tags)] + partitions, own, store)
        self.path = disk.path
        size = disk.size
        sector = disk.sector
        serial = disk.serial
        model = disk.model
        driver = disk.driver
        tableID = tags["PTUUID"]
    }

    private static func hasZeros(_ disk: BlockDevice) throws -> Bool {
        let count = min(end, disk.size)
        let device = try disk.open()
        return try [0, disk.size - count].allSatisfy { offset in
            try device.bytes(at: offset, count: Int(count)).allSatisfy { $0 == 0 }
        }
    }

    private static func obstacle(
        _ disk: BlockDevice, _ found: [(BlockDevice, [String: String])], _ own: [String], _ label: String
    ) throws
        -> Obstacle?
    {
        guard !disk.isReadOnly else {
            return Obstacle(
                status: .denied, what: "the disk is write-protected",
                hint: "look for a switch on it, or its reader")
        }
        guard try !disk.isInUse else {
            return Obstacle(
                status: .busy, what: "the disk is in use",
                hint: "lsblk \(disk.path) shows by what; unmount it, or take another disk")
        }
        if let store = found.first(where: {
            ["escapepod", label.lowercased()].contains($0.1["LABEL"]?.lowercased())
        }) {
            return Obstacle(
                status: .denied, what: "the disk carries a store, \(store.0.path)", hint: "take another disk")
        }
        for other in own.isEmpty ? [] : try BlockDevice.all() where other.disk != disk && other.size > 0 {
            guard let tags = try? other.probe(), let uuid = tags["UUID"], own.contains(uuid) else { continue }
            return Obstacle(
                status: .denied,
                what: "\(other.path) has the UUID of one of the machine's file systems, \(uuid)",
                hint: "two of them cannot be told apart: detach that disk first")
        }
        return nil
    }
}
