import CBlkid
import Glibc
import Plumbing

/// A disk or a partition, as the kernel knows it: what belongs to what is never told from a name.
struct BlockDevice: Equatable {
    /// The kernel's name, such as `vda` or `nvme0n1p2`.
    let name: String
    /// The folder of it in sysfs, without links.
    private let folder: String

    var path: String { "/dev/" + name.replacing("!", with: "/") }

    /// - Parameter path: of a device file.
    /// - Throws: `unavailable` where there is none, or where the kernel does not know it.
    init(at path: String) throws {
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFBLK else {
            throw Failure(.unavailable, "no such disk", at: path, hint: "lsblk lists the disks")
        }
        try self.init(number: status.st_rdev, shown: path)
    }

    init(number: dev_t, shown: String) throws {
        guard let folder = realpath("/sys/dev/block/\(deviceNumbers(number))", nil) else {
            throw Failure(.unavailable, "the kernel does not know this device", at: shown)
        }
        defer { free(folder) }
        self.init(folder: String(cString: folder))
    }

    /// - Parameter name: the kernel's; nil where it has no such device.
    init?(named name: String) {
        guard let folder = realpath("/sys/class/block/\(name)", nil) else { return nil }
        defer { free(folder) }
        self.init(folder: String(cString: folder))
    }

    private init(folder: String) {
        self.folder = folder
        name = String(folder.split(separator: "/").last ?? "")
    }

    /// What the kernel knows it by: major and minor number, with a colon between.
    var number: String { attribute("dev") ?? "" }

    /// All that there are.
    static func all() throws -> [BlockDevice] {
        try Descriptor.folder(at: "/sys/class/block").names().sorted().compactMap { BlockDevice(named: $0) }
    }

    /// The number of a partition; nil for a disk.
    var partition: Int64? { attribute("partition").flatMap { Int64($0) } }

    /// The disk that a partition is on, or this.
    var disk: BlockDevice {
        partition == nil
            ? self : BlockDevice(folder: folder.split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" })
    }

    /// In the order of their numbers.
    var partitions: [BlockDevice] {
        get throws {
            try Descriptor.folder(at: folder).names().map { BlockDevice(folder: "\(folder)/\($0)") }
                .filter { $0.partition != nil }.sorted { ($0.partition ?? 0) < ($1.partition ?? 0) }
        }
    }

    /// The partition of this disk with that number; nil where there is none, or no device file of it.
    func partition(_ number: Int64) throws -> BlockDevice? {
        try partitions.first { $0.partition == number && exists($0.path) }
    }

    /// What the device mapper says that this is, such as `CRYPT-LUKS2-` and more; empty for what is not its.
    private var mapping: String { attribute("dm/uuid") ?? "" }

    /// Of what LUKS has opened, the partition that is encrypted; else this.
    var ground: BlockDevice {
        guard mapping.hasPrefix("CRYPT-LUKS"), let below = try? neighbours("slaves"), below.count == 1 else {
            return self
        }
        return below[0]
    }

    /// What LUKS has opened of this partition; nil where it has not.
    var opened: BlockDevice? {
        get throws { try neighbours("holders").first { $0.mapping.hasPrefix("CRYPT-LUKS") } }
    }

    /// Whether it is encrypted, and has no header that says so.
    var isPlainlyEncrypted: Bool {
        get throws { try neighbours("holders").contains { $0.mapping.hasPrefix("CRYPT-PLAIN") } }
    }

    private func neighbours(_ kind: String) throws -> [BlockDevice] {
        try Descriptor.folder(at: "\(folder)/\(kind)").names().sorted().compactMap { BlockDevice(named: $0) }
    }

    /// Whether it is mounted, swapped on, or held by something: anywhere, in any namespace.
    var isInUse: Bool {
        get throws {
            let number = Glibc.open(path, O_RDONLY | O_EXCL | O_CLOEXEC)
            guard number >= 0 else {
                guard errno == EBUSY else { throw Failure.system("cannot open", at: path) }
                return true
            }
            close(number)
            return false
        }
    }

    /// In bytes.
    var size: Int64 { (attribute("size").flatMap { Int64($0) } ?? 0) * 512 }

    /// Where a partition starts, in bytes.
    var start: Int64 { (attribute("start").flatMap { Int64($0) } ?? 0) * 512 }

    /// The bytes of a logical sector.
    var sector: Int64 { disk.attribute("queue/logical_block_size").flatMap { Int64($0) } ?? 512 }

    var isReadOnly: Bool { attribute("ro") == "1" }

    /// The file that a loop device is made of.
    var backingFile: String? { disk.attribute("loop/backing_file") }

    /// The serial number that the disk itself tells; nil where it has none.
    var serial: String? {
        for name in ["serial", "device/serial"] {
            if let text = disk.attribute(name), !text.isEmpty { return text }
        }
        // SCSI's page 0x80: four bytes, of which the last two count those behind.
        guard
            let page = try? Descriptor(opening: "\(disk.folder)/device/vpd_pg80", O_RDONLY).readAll(
                limit: 4096),
            page.count > 4
        else { return nil }
        let text = printable(page.dropFirst(4)).trimmed
        return text.isEmpty ? nil : text
    }

    /// What the disk calls itself; empty where it does not.
    var model: String { disk.attribute("device/model") ?? "" }

    /// The drivers on the way to the disk, the nearest first, with commas in between: what an initramfs has to have.
    var driver: String {
        guard let start = realpath("\(disk.folder)/device", nil) else { return "" }
        defer { free(start) }
        var parts = String(cString: start).split(separator: "/")
        var names: [String] = []
        while parts.count > 2 {
            let place = parts.reduce("") { "\($0)/\($1)" }
            if let link = realpath("\(place)/driver", nil) {
                let name = String(String(cString: link).split(separator: "/").last ?? "")
                free(link)
                if names.last != name { names.append(name) }
            }
            parts.removeLast()
        }
        return names.filter { $0 != "pcieport" }.joined(separator: ",")
    }

    private func attribute(_ name: String) -> String? {
        guard let bytes = try? Descriptor(opening: "\(folder)/\(name)", O_RDONLY).readAll(limit: 4096) else {
            return nil
        }
        return printable(bytes.last == UInt8(ascii: "\n") ? bytes.dropLast() : bytes[...]).trimmed
    }

    /// What libblkid finds at the start of it: by the names of its tags, `TYPE`, `UUID`, `LABEL`, `VERSION`, `PTTYPE`, `PTUUID`.
    /// Empty where there is nothing that it knows.
    ///
    /// - Throws: `badData` where there is more than one thing.
    func probe() throws -> [String: String] {
        try BlockDevice.probe(path, forTable: partition == nil)
    }

    /// The same of a file.
    static func probe(_ path: String, forTable: Bool) throws -> [String: String] {
        guard let probe = blkid_new_probe_from_filename(path) else {
            throw Failure.system("cannot look at", at: path)
        }
        defer { blkid_free_probe(probe) }
        blkid_probe_enable_superblocks(probe, 1)
        blkid_probe_set_superblocks_flags(
            probe, BLKID_SUBLKS_LABEL | BLKID_SUBLKS_UUID | BLKID_SUBLKS_TYPE | BLKID_SUBLKS_VERSION)
        blkid_probe_enable_partitions(probe, forTable ? 1 : 0)
        switch blkid_do_safeprobe(probe) {
        case 0: break
        case 1: return [:]
        case -2:
            throw Failure(
                .badData, "more than one file system or table is there", at: path,
                hint: "wipefs shows them, and removes what is stale")
        default: throw Failure.system("cannot look at", at: path)
        }
        var tags: [String: String] = [:]
        for index in 0..<blkid_probe_numof_values(probe) {
            var name: UnsafePointer<CChar>?
            var data: UnsafePointer<CChar>?
            guard blkid_probe_get_value(probe, index, &name, &data, nil) == 0, let name, let data else {
                continue
            }
            tags[String(cString: name)] = String(cString: data)
        }
        return tags
    }

    /// Opens it for reading, without waiting.
    func open(_ flags: Int32 = O_RDONLY) throws -> Descriptor {
        try Descriptor(opening: path, flags | O_NONBLOCK)
    }
}

extension Descriptor {
    /// Reads at an offset, fully. A file that ends before that is `badData`.
    func bytes(at offset: Int64, count: Int) throws -> [UInt8] {
        guard lseek(number, Int(offset), SEEK_SET) == offset else {
            throw Failure.system("cannot read", at: name)
        }
        var bytes = [UInt8](repeating: 0, count: count)
        guard try bytes.withUnsafeMutableBytes({ try readFully(into: $0) }) == count else {
            throw Failure(.badData, "shorter than it claims to be", at: name)
        }
        return bytes
    }
}

extension String {
    var trimmed: String {
        var text = self[...]
        while text.last == " " { text.removeLast() }
        while text.first == " " { text.removeFirst() }
        return String(text)
    }
}
