import Glibc
import JSON
import Plumbing

extension Capture {
    /// The names of the capsule's files.
    enum File {
        static let machine = "machine.json"
        static let members = "members.json"
        static let table = "table.sfdisk"
        /// The first 440 bytes of the disk, and what they start.
        static let bootCode = "boot-code"
        static let bootCore = "boot-core"
    }

    /// Writes all that there is to know of the machine into a capsule, but for the list of its members' backups.
    ///
    /// - Parameters:
    ///   - members: those of the configuration. Subvolumes that it does not name are noted.
    ///   - path: the capsule, a folder that only root can change.
    ///   - warn: takes what does not come back although nobody has agreed to that, for people.
    /// - Throws: `badData` where a member is gone.
    public mutating func write(_ members: [Member], into path: String, warn: (String) -> Void) throws {
        let folder = try Descriptor.folder(at: path)
        try folder.requirePrivate(hint: "it must be root's, with mode 0700")
        let found = try subvolumes()
        let places = try members.map { member -> Place in
            guard let seen = found.members.first(where: { $0.seen == member.path }) else {
                throw Failure(
                    .badData, "no such subvolume", at: member.path,
                    hint: "if it is gone for good, delete its line from the configuration")
            }
            return Place(
                label: member.label, filesystem: seen.filesystem, path: seen.path,
                mount: seen.isMounted ? seen.seen : nil, id: seen.id, isDefault: seen.isDefault,
                folderTime: seen.isMounted
                    ? 0 : try Descriptor.folder(at: here(seen.seen) + "/..").changeTime())
        }
        let configured = Set(members.map(\.path))
        for other in found.members where !configured.contains(other.seen) {
            problems.append(Failure(.badData, "a subvolume that is not in the configuration", at: other.seen))
        }
        let table = try table()
        let partitions = try partitions(of: table, archives: folder)
        let kind = Disk.Table(rawValue: try table.string("label")) ?? .gpt
        let bios = try saveBootCode(kind, partitions, in: folder)
        let isUEFI = partitions.contains { isEFISystem($0.type) && $0.content != nil }
        let others = problems.prefix(32).map { "\($0.place ?? ""): \($0.what)" }
        for text in others { note(text) }
        var system = utsname()
        uname(&system)
        let machine = Machine(
            host: host, architecture: withUnsafeBytes(of: system.machine) { text($0) },
            kernel: withUnsafeBytes(of: system.release) { text($0) }, date: now,
            firmware: (isUEFI ? [.uefi] : []) + (bios ? [.bios] : []),
            disk: Disk(
                name: disk.path, size: disk.size, sector: disk.sector, table: kind,
                id: try table.string("id").lowercased(), partitions: partitions, driver: disk.driver),
            subvolumes: places, containers: found.containers, swapFiles: found.swapFiles, leftOut: notes,
            bootEntry: bootEntry)
        // What cannot be read back is no capsule.
        let bytes = machine.json.line
        guard bytes.count <= Capsule.limit else {
            throw Failure(
                .badData, "the description of the machine is too long: \(bytes.count) bytes", at: path,
                hint: "leave out some of its subvolumes")
        }
        _ = try Machine(parsing: bytes, at: File.machine)
        try Program.run(["sfdisk", "--dump", disk.path], into: File.table, in: folder)
        try AtomicFile.write(bytes, to: "\(path)/\(File.machine)", mode: 0o600, replacing: true)
        // What the machine does not have any more.
        let archives = partitions.compactMap { $0.content?.archive }
        for name in try folder.names()
        where name.hasSuffix(".tar") && !archives.contains(name)
            || !bios && [File.bootCode, File.bootCore].contains(name)
        {
            unlinkat(folder.number, name, 0)
        }
        for text in others { warn("left out: \(text)") }
    }

    private func text(_ bytes: UnsafeRawBufferPointer) -> String {
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }

    private var host: String {
        let bytes = try? Descriptor(opening: here("/etc/hostname"), O_RDONLY | O_NONBLOCK).readAll(
            limit: 1024)
        return printable((bytes ?? []).prefix { $0 != UInt8(ascii: "\n") })
    }

    private var now: String {
        var time = time(nil)
        var parts = tm()
        gmtime_r(&time, &parts)
        func two(_ number: Int32) -> String { number.padded(to: 2) }
        return "\((parts.tm_year + 1900).padded(to: 4))-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))T"
            + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))Z"
    }

    /// What a BIOS starts. It finds its second part by the number of a sector, so it works wherever that is at the same place.
    ///
    /// - Returns: whether there is such a thing.
    private func saveBootCode(_ kind: Disk.Table, _ partitions: [Partition], in folder: borrowing Descriptor)
        throws
        -> Bool
    {
        guard disk.sector == 512 else { return false }
        let device = try disk.open()
        let code = try device.bytes(at: 0, count: BootCode.length)
        guard code.contains(where: { $0 != 0 }), let core = BootCode.core(of: kind, partitions) else {
            return false
        }
        let bytes = try device.bytes(at: core.lowerBound, count: Int(core.upperBound - core.lowerBound))
        guard bytes.contains(where: { $0 != 0 }) else { return false }
        for (name, bytes) in [(File.bootCode, code), (File.bootCore, bytes)] {
            let there = try? Descriptor(opening: name, in: folder, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
            if let old = try there?.readAll(limit: bytes.count), old == bytes { continue }
            try AtomicFile.write(bytes, to: folder.path(of: name), mode: 0o600, replacing: true)
        }
        return true
    }

    /// What the firmware started this machine by, as far as efibootmgr tells.
    private var bootEntry: BootEntry? {
        guard prefix.isEmpty, exists("/sys/firmware/efi/efivars"),
            let output = try? Program.output(of: ["efibootmgr", "-v"])
        else { return nil }
        let lines = String(decoding: output, as: UTF8.self).split(separator: "\n")
        guard let current = lines.first(where: { $0.hasPrefix("BootCurrent: ") })?.dropFirst(13),
            let line = lines.first(where: { $0.hasPrefix("Boot\(current)") }),
            let tab = line.firstIndex(of: "\t"), let open = line.firstRange(of: "File(")
        else { return nil }
        let label = line[..<tab].dropFirst(8).drop { $0 == "*" || $0 == " " }
        return BootEntry(
            label: printable(String(label)),
            loader: printable(String(line[open.upperBound...].prefix { $0 != ")" })))
    }
}

/// The boot code of a BIOS: the first bytes of the disk, and the core that they start.
enum BootCode {
    /// What is in front of the table, or of the disk's id.
    static let length = 440
    /// The core is no longer than that: the first partition starts at 1 MiB.
    private static let mostCore: Int64 = 16 << 20

    /// Where the core is: in the BIOS boot partition of a GPT, and else between the first sector and the first partition.
    /// Nil where there is no such place.
    static func core(of kind: Disk.Table, _ partitions: [Partition]) -> Range<Int64>? {
        switch kind {
        case .gpt:
            guard let partition = partitions.first(where: { isBIOSBoot($0.type) }) else { return nil }
            return partition.start..<partition.start + min(partition.size, mostCore)
        case .dos:
            guard let first = partitions.map(\.start).min(), first > 512 else { return nil }
            return 512..<min(first, 512 + mostCore)
        }
    }
}

/// A folder for what is on its way that is ours alone; it is gone when the value ends.
struct TemporaryFolder: ~Copyable {
    let path: String

    init() throws {
        let place = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        var template = Array("\(place)/escapepod-layout.XXXXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failure.system("cannot create a folder", at: place) }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { try? Program.run(["rm", "-rf", "--one-file-system", "--", path]) }
}

extension Descriptor {
    /// When its content changed, in nanoseconds since 1970.
    fileprivate func changeTime() throws -> Int64 {
        let time = try status().st_mtim
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}
