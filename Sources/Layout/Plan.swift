public import JSON
import OpenSSL
import Plumbing

/// What will be done to a disk, so that a machine comes back on it: a function of the machine and of that disk alone.
public struct Plan: Sendable {
    /// One command.
    public struct Step: Equatable, Sendable {
        /// What it is for, for people.
        public let title: String
        public let command: [String]
        /// Its standard input.
        public let input: String

        var json: JSON {
            [
                "title": .string(title), "command": .array(command.map { .string($0) }),
                "input": .string(input),
            ]
        }
    }

    public let machine: Machine
    public let target: Target
    public let partitions: [Partition]
    /// What will not be as it was, for people.
    public let changes: [String]
    public let firmware: Firmware
    /// Whether this is a copy that is only started here as a test, beside the machine itself.
    public let isDrill: Bool
    /// The id that the table has until the machine is whole: an interrupted rebuild is known again by it, and by nothing else.
    let interimID: String

    /// Which disk a person named by what it is, so that it need not be empty.
    public struct Named: Sendable {
        let serial: String?
        let size: Int64?

        public init(serial: String?, size: Int64?) {
            self.serial = serial
            self.size = size
        }
    }

    /// - Parameters:
    ///   - identity: the bytes that say which backup this is.
    ///   - named: nil where only a disk will do that an earlier run has begun with.
    ///   - firmware: what will read the disk first.
    /// - Throws: where the machine does not fit, or the disk may not be written to, with what to do.
    public init(
        _ machine: Machine, identity: [UInt8], on target: Target, named: Named?, firmware: Firmware,
        isDrill: Bool = false
    ) throws {
        func refuse(_ status: ExitStatus, _ what: String, _ hint: String) -> Failure {
            Failure(status, what, at: target.path, hint: hint)
        }
        if named != nil, let obstacle = target.obstacle {
            throw refuse(obstacle.status, obstacle.what, obstacle.hint)
        }
        guard machine.firmware.contains(firmware) else {
            throw refuse(
                .badData, "the machine's disk cannot be started by \(firmware.rawValue.uppercased())",
                machine.firmware.isEmpty
                    ? "no boot loader was found on it; its subvolumes can be restored one by one"
                    : "if another machine will start it, by \(machine.firmware.map { $0.rawValue.uppercased() }.joined(separator: " or ")), give --firmware"
            )
        }
        guard firmware == .uefi || target.sector == 512 else {
            throw refuse(
                .badData, "a BIOS cannot start from sectors of \(target.sector) bytes", "take another disk")
        }
        let fitting = try Fitting(machine.disk, size: target.size, sector: target.sector)
        self.machine = machine
        self.target = target
        self.firmware = firmware
        self.isDrill = isDrill
        partitions = fitting.partitions
        changes = fitting.changes + fitting.partitions.compactMap(Plan.newLock)
        // Whatever the disk is called the next time.
        let anywhere = Target(path: "", size: target.size, sector: target.sector)
        let script = Plan.script(machine.disk, partitions, on: anywhere, id: "")
        interimID = try Plan.interimID(machine.disk.table, of: identity + Array(script.utf8))
        guard let named else {
            guard isUnderWay else {
                throw refuse(
                    .badData, "no rebuild of this machine is under way on the disk",
                    "ep-layout apply begins it")
            }
            return
        }
        guard isUnderWay || target.isEmpty else {
            let other =
                named.serial.flatMap { $0 == target.serial ? nil : $0 }
                ?? named.size.flatMap { $0 == target.size ? nil : "\($0) bytes" }
            guard other == nil, named.serial != nil || named.size != nil else {
                throw refuse(
                    .denied,
                    other.map { "the disk is another one than was named: \($0)" } ?? "the disk is not empty",
                    "to overwrite it all the same, name it by "
                        + (target.serial.map { "--serial '\($0)'" } ?? "--size \(target.size)"))
            }
            return
        }
    }

    /// Whether an earlier run has begun with this very plan.
    public var isUnderWay: Bool { target.tableID?.lowercased() == interimID.replacing("0x", with: "") }

    private static func interimID(_ table: Disk.Table, of identity: [UInt8]) throws -> String {
        var bytes = try Digest.bytes(.sha256, of: identity)
        // RFC 9562: a UUID of version 8 is whatever its maker makes of it.
        bytes[6] = bytes[6] & 0x0f | 0x80
        bytes[8] = bytes[8] & 0x3f | 0x80
        return table == .gpt ? bytes.prefix(16).uuid : "0x" + bytes.prefix(4).hex
    }

    /// What no capsule has.
    private static func newLock(_ partition: Partition) -> String? {
        guard let encryption = partition.encryption else { return nil }
        let lost = encryption.lost.isEmpty ? "" : "; lost: " + encryption.lost.joined(separator: ", ")
        return "partition \(partition.number) is encrypted anew, and one new passphrase opens it\(lost)"
    }

    /// The device of a partition, as the kernel will call it.
    public func device(_ partition: Partition) -> String { Plan.device(partition.number, on: target.path) }

    /// The device that has its content: where it is encrypted, what it is opened as.
    func inside(_ partition: Partition) -> String {
        partition.encryption.map { "/dev/mapper/\($0.opened)" } ?? device(partition)
    }

    static func device(_ number: Int64, on disk: String) -> String {
        disk + (disk.last?.isNumber == true ? "p" : "") + "\(number)"
    }

    // MARK: - Steps

    /// What sfdisk reads.
    private static func script(_ disk: Disk, _ partitions: [Partition], on target: Target, id: String)
        -> String
    {
        var lines = ["label: \(disk.table.rawValue)", "label-id: \(id)", "unit: sectors"]
        let first = (partitions.map(\.start).min() ?? 0) / target.sector
        if disk.table == .gpt { lines.append("first-lba: \(min(first, (1 << 20) / target.sector))") }
        lines.append("")
        for partition in partitions {
            var fields = [
                "start=\(partition.start / target.sector)", "size=\(partition.size / target.sector)",
                "type=\(partition.type)",
            ]
            if let uuid = partition.uuid { fields.append("uuid=\(uuid)") }
            if let name = partition.name { fields.append("name=\"\(name)\"") }
            if let attributes = partition.attributes { fields.append("attrs=\"\(attributes)\"") }
            if partition.isBootable { fields.append("bootable") }
            lines.append("\(device(partition.number, on: target.path)) : \(fields.joined(separator: ", "))")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// The commands that make the disk, in their order.
    public var steps: [Step] {
        (isUnderWay ? [] : tableSteps)
            + partitions.flatMap { encryption($0) + (fileSystem($0).map { [$0] } ?? []) }
    }

    var tableSteps: [Step] {
        [
            Step(
                title: "the partition table",
                command: [
                    "sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "--wipe", "always",
                    "--wipe-partitions", "always",
                    target.path,
                ], input: Plan.script(machine.disk, partitions, on: target, id: interimID)),
            Step(
                title: "its partitions, for the kernel", command: ["partx", "--update", target.path],
                input: ""),
        ]
    }

    /// The last step of all.
    public var lastStep: Step {
        Step(
            title: "the machine's own id for the table, which says that it is whole",
            command: [
                "sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "--disk-id", target.path,
                machine.disk.id,
            ],
            input: "")
    }

    /// Encrypts a partition, and opens it; empty where it is not encrypted. The input is the passphrase, which is no part of the
    /// plan.
    func encryption(_ partition: Partition) -> [Step] {
        guard let encryption = partition.encryption else { return [] }
        let device = device(partition)
        let name = encryption.kind.rawValue.uppercased()
        func step(_ title: String, _ command: [String]) -> Step {
            Step(title: title, command: command, input: "")
        }
        // The machine itself has this UUID, so a copy gets it last.
        let identity = isDrill ? [] : [step("its UUID", encryption.identifying(device))]
        return [step(name, encryption.formatting(device, sector: target.sector, isQuick: isDrill))]
            + identity
            + [step("what is inside", encryption.opening(device))]
    }

    func fileSystem(_ partition: Partition) -> Step? {
        guard let content = partition.content else { return nil }
        let device = inside(partition)
        func labelled(_ option: String) -> [String] { content.label.isEmpty ? [] : [option, content.label] }
        let command: [String]
        switch content.kind {
        case .btrfs:
            // A kernel does not mount two with one UUID: a copy gets it when it is not mounted any more.
            let identity = isDrill ? [] : ["--uuid", content.uuid]
            command =
                ["mkfs.btrfs", "--quiet", "--force"] + identity + ["--csum", content.form]
                + labelled("--label") + [device]
        case .vfat:
            // With larger sectors a small partition has too few clusters for the width that it had.
            let width =
                target.sector == machine.disk.sector && !content.form.isEmpty ? ["-F", content.form] : []
            command =
                ["mkfs.vfat"] + width + ["-i", content.uuid.filter { $0 != "-" }] + labelled("-n") + [device]
        case .ext4:
            command =
                ["mke2fs", "-q", "-F", "-t", "ext4", "-U", content.uuid, "-O", "none,\(content.form)"]
                + labelled("-L") + [device]
        case .swap: command = ["mkswap", "--uuid", content.uuid] + labelled("--label") + [device]
        }
        return Step(
            title: "\(content.kind.rawValue)\(partition.mount.map { " for \($0)" } ?? "")", command: command,
            input: "")
    }

    // MARK: - For people and programs

    public var json: JSON {
        [
            "disk": .string(target.path), "firmware": .string(firmware.rawValue),
            "under-way": .bool(isUnderWay),
            "partitions": .array(
                partitions.map {
                    [
                        "device": .string(device($0)), "start": .integer($0.start), "size": .integer($0.size),
                        "content": .string($0.content?.kind.rawValue ?? ""),
                        "uuid": .string($0.content?.uuid ?? ""),
                    ]
                }), "changes": .array(changes.map { .string($0) }),
            "steps": .array((steps + [lastStep]).map(\.json)),
        ]
    }

    /// What a person decides by.
    public var text: String {
        let identity = [target.model, target.serial.map { "serial \($0)" } ?? ""].filter { !$0.isEmpty }
        var lines = [
            "\(machine.host.isEmpty ? "the machine" : machine.host), as it was on \(machine.date), to \(target.path), "
                + "\(readable(bytes: UInt64(target.size)))\(identity.isEmpty ? "" : " (\(identity.joined(separator: ", ")))")"
        ]
        if isUnderWay {
            lines.append("  this was begun before, and goes on")
        } else if target.isEmpty {
            lines.append("  the disk is empty")
        } else {
            lines.append("  what is there now is lost:")
            lines += target.contents.map { "    \($0)" }
        }
        lines.append("  what will be there:")
        for partition in partitions {
            let places = machine.subvolumes.filter { $0.filesystem == partition.content?.uuid }.map {
                $0.mount ?? $0.path
            }
            lines.append("    \(partition.line(device(partition), places))")
        }
        lines += changes.map { "  changed: \($0)" }
        lines += machine.leftOut.map { "  not part of it: \($0)" }
        return lines.map { printable($0) + "\n" }.joined()
    }
}
