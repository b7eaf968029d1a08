import CLinux
import Glibc
import JSON
import Plumbing

extension Capture {
    /// The disk of the machine, and what is on it.
    ///
    /// - Parameters:
    ///   - table: as `table` has it.
    ///   - folder: where archives go of what is no btrfs.
    mutating func partitions(of table: Members, archives folder: borrowing Descriptor) throws -> [Partition] {
        let partitions = try look(at: table)
        for partition in partitions {
            guard let archive = partition.content?.archive else { continue }
            try write(archive, of: partition, into: folder)
        }
        return partitions
    }

    /// The disk's table, as sfdisk reads it, with what libblkid finds in each partition.
    mutating func look(at table: Members) throws -> [Partition] {
        let devices = Dictionary(
            try disk.partitions.map { ($0.partition ?? 0, $0) }, uniquingKeysWith: { first, _ in first })
        let rows = try table.objects("partitions")
        try lookElsewhere()
        return try rows.map { row in
            let node = try row.string("node")
            guard let number = Int64(String(node.reversed().prefix { $0.isNumber }.reversed())),
                let device = devices[number]
            else {
                throw Failure(
                    .badData, "the kernel does not know a partition of the table", at: node,
                    hint: "partx --update \(disk.path) tells it")
            }
            return try partition(device, row)
        }.sorted { $0.number < $1.number }
    }

    /// What sfdisk says of the table, checked to be of a kind that can come back.
    func table() throws -> Members {
        let command = ["sfdisk", "--json", disk.path]
        let text = try Program.output(of: command)
        let table = try Members(of: JSON(parsing: text, at: shellWords(command)), at: shellWords(command))
            .object(
                "partitiontable")
        guard Disk.Table(rawValue: try table.string("label")) != nil else {
            throw Failure(
                .badData, "a partition table of the kind \(try table.string("label"))", at: disk.path,
                hint: "only gpt and dos can come back")
        }
        return table
    }

    private mutating func partition(_ device: BlockDevice, _ row: Members) throws -> Partition {
        let type = try row.string("type")
        var found = try device.probe()
        var encryption: Encryption?
        var inside = device
        if found["TYPE"] == "crypto_LUKS", let opened = try device.opened {
            do {
                encryption = try Encryption(of: device.path, found)
                inside = opened
                found = try inside.probe()
            } catch let failure as Failure {
                // It must not come back in the clear.
                if !isLeftOut(device.path) { problems.append(failure) }
                found = [:]
            }
        }
        let mount = mounts.filter {
            $0.value.type != "btrfs" && $0.value.root == "/"
                && (try? BlockDevice(number: $0.value.device, shown: $0.key)) == inside
        }.keys.min { ($0.utf8.count, $0) < ($1.utf8.count, $1) }
        let content = try content(of: inside, on: device, type: type, found, mount)
        return Partition(
            number: device.partition ?? 0, start: device.start, size: try row.integer("size") * disk.sector,
            type: type.lowercased(), uuid: try row.contains("uuid") ? row.string("uuid").lowercased() : nil,
            name: try row.contains("name") ? row.string("name") : nil,
            attributes: try row.contains("attrs") ? row.string("attrs") : nil,
            isBootable: try row.contains("bootable") ? row.bool("bootable") : false,
            encryption: encryption, content: content, mount: mount)
    }

    /// - Parameter partition: the device itself, or the encrypted one that it was opened from.
    private mutating func content(
        of device: BlockDevice, on partition: BlockDevice, type: String, _ found: [String: String],
        _ mount: String?
    ) throws -> Content? {
        let place = mount ?? partition.path
        let isSkipped = isLeftOut(place) || isLeftOut(partition.path)
        func content(_ kind: Content.Kind, used: Int64, form: String, archive: String?) -> Content {
            Content(
                kind: kind, uuid: found["UUID"] ?? "", label: found["LABEL"] ?? "", used: used, form: form,
                archive: isSkipped ? nil : archive)
        }
        if isSkipped { note("\(place): left out by the configuration") }
        switch found["TYPE"] {
        case nil:
            if try partition.isPlainlyEncrypted {
                note("\(partition.path): encrypted without a header; it comes back empty, for /etc/crypttab")
            } else if try partition == device && device.opened != nil {
                problems.append(
                    .init(
                        .badData, "cannot come back: encrypted with LUKS, its header on another device",
                        at: place))
            } else if found.isEmpty, !isContainer(type), !isBIOSBoot(type) {
                note("\(partition.path): nothing is known on it; the partition comes back empty")
            }
            return nil
        case "btrfs":
            let superblock = try Superblock(of: device)
            guard superblock.devices == 1 || isSkipped else {
                problems.append(
                    .init(.badData, "a btrfs over several devices", at: place, hint: leaveOut(place)))
                return nil
            }
            let isMounted = mounts.contains {
                $0.value.type == "btrfs" && ((try? Capture.devices(at: here($0.key))) ?? []) == [device]
            }
            if !isMounted, !isSkipped {
                problems.append(
                    .init(
                        .badData, "a btrfs that is not mounted", at: place,
                        hint: "mount it, or leave it out with --leave-out \(place)"))
            }
            return content(.btrfs, used: superblock.used, form: superblock.checksum, archive: nil)
        case "swap": return content(.swap, used: 0, form: "", archive: nil)
        case "vfat":
            let isLoader =
                isEFISystem(type)
                || mount.map { $0 == "/boot" || $0.hasPrefix("/boot/") || $0 == "/efi" } ?? false
            if !isLoader, !isSkipped { problems.append(foreign("vfat", place)) }
            return content(
                .vfat, used: try used(mount), form: String((found["VERSION"] ?? "").drop { !$0.isNumber }),
                archive: isLoader ? archiveName(mount ?? "/efi") : nil)
        case "ext2", "ext3", "ext4":
            if mount != "/boot", !isSkipped { problems.append(foreign(found["TYPE"] ?? "", place)) }
            return content(
                .ext4, used: try used(mount), form: try features(of: device),
                archive: mount == "/boot" ? archiveName("/boot") : nil)
        case .some(let other):
            if !isSkipped { problems.append(foreign(other, place)) }
            return nil
        }
    }

    private func archiveName(_ mount: String) -> String {
        mount.split(separator: "/").joined(separator: "-") + ".tar"
    }

    private func leaveOut(_ place: String) -> String {
        "leave it out with --leave-out \(place), and back it up by other means"
    }

    private func foreign(_ kind: String, _ place: String) -> Failure {
        let what =
            switch kind {
            case "crypto_LUKS": "encrypted with LUKS, and not open"
            case "LVM2_member": "a part of LVM"
            case "linux_raid_member": "a part of an md array"
            default: "a file system of the kind \(kind)"
            }
        return Failure(
            .badData, "cannot come back: \(what)", at: place,
            hint: (kind == "crypto_LUKS" ? "open it, or " : "") + leaveOut(place))
    }

    /// What is mounted from elsewhere, and has data of its own.
    private mutating func lookElsewhere() throws {
        for (point, mount) in mounts.sorted(by: { $0.key < $1.key }) where !isLeftOut(point) {
            if ["zfs", "bcachefs"].contains(mount.type) {
                problems.append(foreign(mount.type, point))
                continue
            }
            let devices: [BlockDevice] =
                mount.type == "btrfs"
                ? (try? Capture.devices(at: here(point))) ?? []
                : (try? BlockDevice(number: mount.device, shown: point)).map { [$0] } ?? []
            for device in devices where device.ground.disk != disk {
                // Images such as snap's belong to what they lie on.
                if device.backingFile != nil, mount.isReadOnly { continue }
                // What is plugged in for a while does not belong to the machine.
                guard isInTable(point) else {
                    note("\(point): on another disk, \(device.path), and not in fstab")
                    continue
                }
                problems.append(
                    .init(
                        .badData, "cannot come back: it is on another disk, \(device.path)", at: point,
                        hint: leaveOut(point)))
            }
        }
    }

    private func isInTable(_ point: String) -> Bool {
        let bytes = try? Descriptor(opening: here("/etc/fstab"), O_RDONLY | O_NONBLOCK).readAll(
            limit: 1 << 20)
        return String(decoding: bytes ?? [], as: UTF8.self).split(separator: "\n").contains {
            let fields = FileSystemTable.fields(String($0))
            return fields.count > 1
                && String(decoding: octalsUnescaped(fields[1].utf8), as: UTF8.self) == point
        }
    }

    private func used(_ mount: String?) throws -> Int64 {
        guard let mount else { return 0 }
        var status = statvfs()
        guard statvfs(here(mount), &status) == 0 else {
            throw Failure.system("cannot query the free space", at: mount)
        }
        return Int64(clamping: (UInt64(status.f_blocks) - UInt64(status.f_bfree)) * UInt64(status.f_frsize))
    }

    /// What an ext4 of a later mkfs would have, too, a loader may not know: so the very same.
    private func features(of device: BlockDevice) throws -> String {
        let text = String(decoding: try Program.output(of: ["tune2fs", "-l", device.path]), as: UTF8.self)
        let line = text.split(separator: "\n").first { $0.hasPrefix("Filesystem features:") } ?? ""
        return line.split(separator: " ").dropFirst(2).filter {
            !["needs_recovery", "orphan_present"].contains($0)
        }
        .joined(separator: ",")
    }

    // MARK: - Archives

    /// The boot loader's files: owners, modes, times and extended attributes are kept.
    private func write(_ archive: String, of partition: Partition, into folder: borrowing Descriptor) throws {
        func tar(_ directory: String) -> [String] {
            [
                "tar", "--create", "--directory=\(directory)", "--one-file-system", "--xattrs", "--acls",
                "--numeric-owner", "--sort=name",
                "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime", ".",
            ]
        }
        if let mount = partition.mount {
            return try Program.run(tar(here(mount)), into: archive, in: folder)
        }
        // Not mounted, as where systemd mounts it on demand.
        guard let device = try disk.partitions.first(where: { $0.partition == partition.number }) else {
            return
        }
        let copy = try TemporaryFolder()
        try Program.runQuietly(["mcopy", "-s", "-n", "-Q", "-m", "-i", device.path, "::", copy.path])
        // mcopy keeps the times of files alone, and an archive of the same files is to be the same.
        try Program.run(["find", copy.path, "-type", "d", "-exec", "touch", "-d", "1980-01-01", "{}", "+"])
        try Program.run(tar(copy.path), into: archive, in: folder)
    }
}

/// The fields of a btrfs' superblock that a new one is made by: the on-disk format of btrfs, struct btrfs_super_block.
struct Superblock {
    let devices: UInt64
    let used: Int64
    /// As mkfs.btrfs names it.
    let checksum: String

    init(of device: BlockDevice) throws {
        let bytes = try device.open().bytes(at: 64 << 10, count: 4096)
        func number(_ offset: Int, _ count: Int) -> UInt64 {
            bytes[offset..<offset + count].reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
        devices = number(0x88, 8)
        used = Int64(clamping: number(0x78, 8))
        let names = ["crc32c", "xxhash", "sha256", "blake2"]
        let type = number(0xc4, 2)
        guard type < names.count else {
            throw Failure(.badData, "a btrfs with an unknown checksum", at: device.path)
        }
        checksum = names[Int(type)]
    }
}
