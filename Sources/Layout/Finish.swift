import CBtrfsUtil
import CLinux
import Glibc
import Plumbing

/// The end of a rebuild, when every subvolume is in its place: what a stream does not carry, what has to follow a new identity,
/// and a look at whether it can start.
public struct Finish {
    private let plan: Plan
    private let capsule: String
    /// Where the top level of each btrfs is mounted, by its UUID.
    private let folder: String

    public init(_ plan: Plan, from capsule: String, mountedAt folder: String) {
        self.plan = plan
        self.capsule = capsule
        self.folder = folder
    }

    private func path(_ place: Place) -> String { "\(folder)/\(place.filesystem)/\(place.path)" }

    /// A folder of its file system, by no link.
    private func open(_ path: String, of place: Place) throws -> Descriptor {
        let top = try Descriptor.folder(at: "\(folder)/\(place.filesystem)")
        let number = openBeneath(top.number, path.isEmpty ? "." : path)
        guard number >= 0 else { throw Failure.system("cannot open", at: top.path(of: path)) }
        return Descriptor(owning: number, name: top.path(of: path))
    }

    private func open(_ place: Place) throws -> Descriptor { try open(place.path, of: place) }

    /// How a person gets at the root, to mend something.
    public var wayIn: String {
        let root = plan.machine.root
        let partition = plan.partitions.first { $0.content?.uuid == root.filesystem }
        return shellWords(["mount", "-o", "subvol=/\(root.path)", partition.map(plan.device) ?? "", "/mnt"])
    }

    /// - Parameter say: takes what was changed, for people.
    /// - Returns: what needs a person's eye before this machine can start; empty where nothing was found.
    public func run(say: (String) throws -> Void) throws -> [String] {
        for place in plan.machine.subvolumes where place.isDefault { try setDefault(place) }
        for place in plan.machine.subvolumes where place.folderTime != 0 { try restoreTime(above: place) }
        let root = try open(plan.machine.root)
        for change in try adapt(root) { try say(change) }
        var concerns = try missing(root)
        concerns += try kernels(root)
        concerns += try initramfs(root)
        concerns += try loader()
        for place in plan.machine.subvolumes {
            try Descriptor.folder(at: "\(folder)/\(place.filesystem)").syncFileSystem()
        }
        try Program.run(plan.lastStep.command)
        return concerns
    }

    private func setDefault(_ place: Place) throws {
        let subvolume = try open(place)
        var id: UInt64 = 0
        guard btrfs_util_subvolume_id_fd(subvolume.number, &id) == BTRFS_UTIL_OK,
            btrfs_util_set_default_subvolume_fd(subvolume.number, id) == BTRFS_UTIL_OK
        else { throw Failure.system("cannot make it the default subvolume", at: path(place)) }
    }

    /// The subvolume came into its folder long after all else did.
    private func restoreTime(above place: Place) throws {
        let parent = place.path.split(separator: "/").dropLast().joined(separator: "/")
        let folder = try open(parent, of: place)
        let time = timespec(
            tv_sec: Int(place.folderTime / 1_000_000_000), tv_nsec: Int(place.folderTime % 1_000_000_000))
        let flags = try unprotect(folder)
        guard futimens(folder.number, [timespec(tv_sec: 0, tv_nsec: Int((1 << 30) - 2)), time]) == 0
        else {
            throw Failure.system("cannot set the time", at: folder.name)
        }
        try protect(folder, flags)
    }

    /// What keeps a file or folder from being changed (linux/fs.h).
    private static let protecting = linux_FLAG_IMMUTABLE | linux_FLAG_APPEND

    /// Takes that from it. A run that is killed before it has this again does no harm: the next one sets it anew first.
    ///
    /// - Returns: its inode flags before.
    private func unprotect(_ file: borrowing Descriptor) throws -> Int32 {
        var flags: Int32 = 0
        guard linux_get_flags(file.number, &flags) == 0, flags & Finish.protecting != 0 else { return 0 }
        guard linux_set_flags(file.number, flags & ~Finish.protecting) == 0 else {
            throw Failure.system("cannot change the inode flags", at: file.name)
        }
        return flags
    }

    private func protect(_ file: borrowing Descriptor, _ flags: Int32) throws {
        guard flags & Finish.protecting == 0 || linux_set_flags(file.number, flags) == 0 else {
            throw Failure.system("cannot set the inode flags", at: file.name)
        }
    }

    // MARK: - What is changed

    /// A file of the restored root, of which nothing is followed; nil where there is none.
    private func read(_ name: String, in root: borrowing Descriptor) throws -> [UInt8]? {
        let number = linux_open_beneath(root.number, name, O_RDONLY | O_NONBLOCK)
        guard number >= 0 else {
            guard [ENOENT, ENOTDIR, ELOOP].contains(errno) else {
                throw Failure.system("cannot read", at: name)
            }
            return nil
        }
        return try Descriptor(owning: number, name: name).readAll(limit: 16 << 20)
    }

    /// Ids of subvolumes are new, so fstab names them by their paths.
    private func adapt(_ root: borrowing Descriptor) throws -> [String] {
        guard let bytes = try read("etc/fstab", in: root) else { return [] }
        let old = String(decoding: bytes, as: UTF8.self)
        let table = FileSystemTable(old, on: plan)
        guard table.text != old else { return [] }
        let number = linux_open_beneath(root.number, "etc", O_RDONLY | O_DIRECTORY)
        guard number >= 0 else { throw Failure.system("cannot open", at: "etc") }
        let etc = Descriptor(owning: number, name: "etc")
        let flags = try unprotect(etc)
        let flagsOfTable = try unprotect(Descriptor(opening: "fstab", in: etc, O_RDONLY | O_NOFOLLOW))
        try AtomicFile.write(
            Array(table.text.utf8), to: "/dev/fd/\(number)/fstab", mode: 0o644, replacing: true)
        try protect(Descriptor(opening: "fstab", in: etc, O_RDONLY | O_NOFOLLOW), flagsOfTable)
        try protect(etc, flags)
        try etc.syncNames()
        return table.changes
    }

    // MARK: - Whether it can start

    /// File systems that are named and not there.
    private func missing(_ root: borrowing Descriptor) throws -> [String] {
        var known: Set<String> = []
        for partition in plan.partitions {
            for text in [partition.uuid, partition.name, partition.content?.uuid, partition.content?.label] {
                if let text, !text.isEmpty { known.insert(text.lowercased()) }
            }
            // The UUID that Linux makes up for a partition of a DOS table.
            known.insert("\(plan.machine.disk.id.dropFirst(2))-\(partition.number.padded(to: 2, radix: 16))")
        }
        var concerns: [String] = []
        for file in ["etc/fstab", "etc/crypttab"] {
            let text = String(decoding: try read(file, in: root) ?? [], as: UTF8.self)
            for name in FileSystemTable.sources(of: text, column: file == "etc/fstab" ? 0 : 1)
            where !known.contains(name.lowercased()) {
                concerns.append("/\(file) names \(printable(name)), which is not on this disk")
            }
        }
        let table = String(decoding: try read("etc/fstab", in: root) ?? [], as: UTF8.self)
        for name in FileSystemTable.subvolumes(of: table) {
            let isThere =
                plan.machine.subvolumes.contains { $0.path == name }
                || plan.machine.containers.contains { $0.path == name }
            if !isThere {
                concerns.append("/etc/fstab names the subvolume \(printable(name)), which has not come back")
            }
        }
        for file in ["boot/grub/grub.cfg", "boot/grub2/grub.cfg"] {
            let text = String(decoding: try read(file, in: root) ?? [], as: UTF8.self)
            for name in Set(text.split { !($0.isHexDigit || $0 == "-") }.map(String.init).filter(\.isUUID))
                .sorted()
            where !known.contains(name.lowercased()) {
                concerns.append("/\(file) names \(name), which is not on this disk")
            }
            if text.contains("subvolid=") {
                concerns.append("/\(file) names a subvolume by its id, which is another one now")
            }
        }
        return concerns
    }

    /// Every kernel needs its modules.
    private func kernels(_ root: borrowing Descriptor) throws -> [String] {
        var names: [String] = []
        if let boot = plan.partitions.first(where: { $0.mount == "/boot" }),
            let archive = boot.content?.archive
        {
            names = try listing(archive)
        } else {
            let number = linux_open_beneath(root.number, "boot", O_RDONLY | O_DIRECTORY)
            if number >= 0 { names = try Descriptor(owning: number, name: "boot").names() }
        }
        let isOnEFI = try plan.partitions.compactMap { $0.content?.archive }.contains {
            try listing($0).contains { name in
                ["vmlinuz", "linux"].contains { name.lowercased().contains($0) }
            }
        }
        guard isOnEFI || names.contains(where: { ($0.split(separator: "/").last ?? "").hasPrefix("vmlinu") })
        else { return ["there is no kernel in /boot"] }
        let versions = names.compactMap { name -> String? in
            let last = String(name.split(separator: "/").last ?? "")
            return last.hasPrefix("vmlinuz-") ? String(last.dropFirst(8)) : nil
        }
        return versions.filter { version in
            version.isPlainPath
                && !["lib/modules", "usr/lib/modules"].contains { place in
                    let number = linux_open_beneath(
                        root.number, "\(place)/\(version)", O_RDONLY | O_DIRECTORY)
                    if number >= 0 { close(number) }
                    return number >= 0
                }
        }.map { "the kernel \(printable($0)) has no modules" }
    }

    /// One that was made for the disk that is gone may lack the driver of this one.
    private func initramfs(_ root: borrowing Descriptor) throws -> [String] {
        let (old, new) = (plan.machine.disk.driver, plan.target.driver)
        guard old != new, !old.isEmpty, !new.isEmpty else { return [] }
        for (file, mark, command) in Finish.generators {
            let text = String(decoding: try read(file, in: root) ?? [], as: UTF8.self)
            if text.split(separator: "\n").contains(where: {
                $0.hasPrefix(mark.line) && $0.contains(mark.word)
            }) {
                return [
                    "the initramfs was made for the driver \(printable(old)), and the disk has \(new): in a chroot, \(command)"
                ]
            }
        }
        return []
    }

    /// Where each maker of an initramfs is told to put in only what the machine has.
    private static let generators: [(String, (line: String, word: String), String)] = [
        ("etc/initramfs-tools/initramfs.conf", ("MODULES=", "dep"), "update-initramfs -u -k all"),
        ("etc/dracut.conf", ("hostonly=", "yes"), "dracut --regenerate-all --force"),
        (
            "usr/lib/dracut/dracut.conf.d/01-dist.conf", ("hostonly=", "yes"),
            "dracut --regenerate-all --force"
        ),
        ("etc/mkinitcpio.conf", ("HOOKS=", "autodetect"), "mkinitcpio -P"),
    ]

    private func listing(_ archive: String) throws -> [String] {
        let output = try Program.output(of: ["tar", "--list", "--file=\(capsule)/\(archive)"])
        return String(decoding: output, as: UTF8.self).split(separator: "\n").map {
            $0.hasPrefix("./") ? String($0.dropFirst(2)) : String($0)
        }
    }

    /// Where a UEFI looks: at its own entries, and for a disk that it does not know at one path.
    private func loader() throws -> [String] {
        guard plan.firmware == .uefi else { return [] }
        guard let partition = plan.partitions.first(where: { isEFISystem($0.type) }),
            let archive = partition.content?.archive
        else { return ["there is no EFI system partition with a boot loader"] }
        let files = try listing(archive).map { $0.lowercased() }
        let isFallback = files.contains { $0.hasPrefix("efi/boot/boot") && $0.hasSuffix(".efi") }
        guard let entry = plan.machine.bootEntry else {
            return isFallback
                ? []
                : [
                    "no loader is where every UEFI looks, in EFI/BOOT, and the firmware's own entry is not known"
                ]
        }
        let command = [
            "efibootmgr", "--quiet", "--create", "--disk", plan.target.path, "--part", "\(partition.number)",
            "--label", entry.label, "--loader", entry.loader,
        ]
        if exists("/sys/firmware/efi/efivars") {
            // Of a run before this one.
            let known =
                (try? Program.output(of: ["efibootmgr", "-v"])).map { String(decoding: $0, as: UTF8.self) }
                ?? ""
            let isKnown = known.split(separator: "\n").contains {
                $0.contains(entry.loader) && $0.lowercased().contains(partition.uuid ?? "no UUID")
            }
            if isKnown || (try? Program.run(command)) != nil { return [] }
        }
        return isFallback
            ? [] : ["the firmware does not know the loader; on the machine itself:  \(shellWords(command))"]
    }
}

/// Opens a folder below another, by no link and over no mount.
private func openBeneath(_ folder: Int32, _ path: String) -> Int32 {
    linux_open_beneath(folder, path, O_RDONLY | O_DIRECTORY)
}

/// Whether the subvolume `path` is in its place below `folder`, to which only we can write.
///
/// - Throws: `badData` where something else is there, or a link on the way.
public func isPlaced(_ path: String, below folder: String) throws -> Bool {
    let top = try Descriptor.folder(at: folder)
    let parent = path.split(separator: "/").dropLast().joined(separator: "/")
    let foreign = Failure(
        .badData, "something else is in the place of a subvolume", at: top.path(of: path),
        hint: "the backup is hostile or damaged")
    let number = openBeneath(top.number, parent.isEmpty ? "." : parent)
    guard number >= 0 else {
        throw errno == ELOOP || errno == ENOTDIR
            ? foreign : Failure.system("cannot open", at: top.path(of: parent))
    }
    let above = Descriptor(owning: number, name: top.path(of: parent))
    var status = stat()
    let name = String(path.split(separator: "/").last ?? "")
    guard fstatat(above.number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
        guard errno == ENOENT else { throw Failure.system("cannot stat", at: top.path(of: path)) }
        return false
    }
    // BTRFS_FIRST_FREE_OBJECTID: the root of a subvolume.
    guard status.st_mode & S_IFMT == S_IFDIR, status.st_ino == 256 else { throw foreign }
    return true
}

/// fstab(5), as far as a rebuild changes it.
struct FileSystemTable {
    private(set) var text: String
    /// For people.
    private(set) var changes: [String] = []

    init(_ text: String, on plan: Plan) {
        self.text = text
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        var adapted: [String] = []
        for line in lines {
            let fields = FileSystemTable.fields(line)
            guard fields.count >= 4, fields[2] == "btrfs" else {
                adapted.append(line)
                continue
            }
            let options = fields[3].split(separator: ",").map(String.init)
            guard
                let old = options.first(where: {
                    $0.hasPrefix("subvolid=") && $0 != "subvolid=5" && $0 != "subvolid=0"
                })
            else {
                adapted.append(line)
                continue
            }
            let isNamed = options.contains { $0.hasPrefix("subvol=") }
            let place = plan.machine.subvolumes.first { "subvolid=\($0.id)" == old }
            let new = options.compactMap { option -> String? in
                guard option == old else { return option }
                return isNamed ? nil : place.map { "subvol=/\($0.path)" } ?? option
            }
            guard new != options, let range = line.firstRange(of: String(fields[3])) else {
                adapted.append(line)
                continue
            }
            changes.append(
                "/etc/fstab: \(old) of \(fields[1]) became \(isNamed ? "its subvol= alone" : new.joined(separator: ","))"
            )
            adapted.append(
                line.replacing(
                    fields[3], with: new.isEmpty ? "defaults" : new.joined(separator: ","), subrange: range))
        }
        self.text = adapted.joined(separator: "\n")
    }

    static func fields(_ line: String) -> [Substring] {
        guard line.drop(while: { $0 == " " || $0 == "\t" }).first != "#" else { return [] }
        return line.split { $0 == " " || $0 == "\t" }
    }

    /// The subvolumes that lines name by their paths, without a slash at either end.
    static func subvolumes(of text: String) -> [String] {
        text.split(separator: "\n").compactMap { line in
            let fields = fields(String(line))
            guard fields.count > 3, fields[2] == "btrfs",
                let option = fields[3].split(separator: ",").first(where: { $0.hasPrefix("subvol=") })
            else { return nil }
            let path = option.dropFirst(7).split(separator: "/").joined(separator: "/")
            return path.isEmpty ? nil : path
        }
    }

    /// What the lines of a table are about, where it is told by an identity: the bare UUID, label or name.
    static func sources(of text: String, column: Int) -> [String] {
        text.split(separator: "\n").compactMap { line in
            let fields = fields(String(line))
            guard fields.count > column else { return nil }
            let parts = fields[column].split(separator: "=", maxSplits: 1)
            guard parts.count == 2, ["UUID", "LABEL", "PARTUUID", "PARTLABEL"].contains(parts[0]) else {
                return nil
            }
            return String(parts[1].filter { $0 != "\"" })
        }
    }
}
