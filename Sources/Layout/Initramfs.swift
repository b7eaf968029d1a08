import CLinux
import Glibc
import Plumbing

/// Making an initramfs anew, with the restored machine's own programs: one that was made for the disk that is gone may lack the
/// driver of this one.
///
/// What runs is foreign. It sees the machine's own files and nothing else: no device, network or process of this system, and
/// it cannot mount, or load a module. bwrap(1).
extension Finish {
    /// What makes one.
    private struct Generator: Sendable {
        /// Where it is told what to put in: files, and folders, which end in a slash. What comes later counts.
        let places: [String]
        let setting: String
        /// What it says where one has only what the machine has.
        let word: String
        /// Makes one for any machine.
        let command: [String]
        /// What the files have to say for that, where the command cannot.
        var replacement: String?
    }

    private static let generators = [
        Generator(
            places: ["etc/initramfs-tools/initramfs.conf", "etc/initramfs-tools/conf.d/"],
            setting: "MODULES=", word: "dep", command: ["update-initramfs", "-u", "-k", "all"],
            replacement: "MODULES=most"),
        Generator(
            places: ["usr/lib/dracut/dracut.conf.d/", "etc/dracut.conf", "etc/dracut.conf.d/"],
            setting: "hostonly=", word: "yes",
            command: ["dracut", "--regenerate-all", "--force", "--no-hostonly"]),
        Generator(
            places: ["etc/mkinitcpio.conf"], setting: "HOOKS=", word: "autodetect",
            command: ["mkinitcpio", "-P", "-S", "autodetect"]),
    ]

    /// How long it may take.
    private static let limit = "15m"

    /// - Parameter say: is told that one was made anew.
    /// - Returns: why it could not be, for people.
    func initramfs(_ root: borrowing Descriptor, say: (String) throws -> Void) throws -> [String] {
        let (old, new) = (plan.machine.disk.driver, plan.target.driver)
        // A disk without a driver that is known here will be another machine's.
        guard !plan.isDrill, old != new, !old.isEmpty else { return [] }
        for generator in Finish.generators {
            var last = ""
            var files: [(name: String, text: String)] = []
            for name in try generator.places.flatMap({ try names($0, in: root) }) {
                let text = String(decoding: try read(name, in: root) ?? [], as: UTF8.self)
                var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
                for index in lines.indices where lines[index].hasPrefix(generator.setting) {
                    last = lines[index]
                    if let replacement = generator.replacement { lines[index] = replacement }
                }
                let replaced = lines.joined(separator: "\n")
                if replaced != text { files.append((name, replaced)) }
            }
            guard last.contains(generator.word) else { continue }
            do {
                if generator.replacement != nil { files += try openableTable(root) }
                try make(generator, with: files)
                try say("a new initramfs, since the old one was made for the driver \(printable(old))")
                return []
            } catch let failure as Failure {
                return [
                    "the initramfs was made for the driver \(printable(old)), and this disk may need another; "
                        + "a new one could not be made: \(failure.what): in a chroot, \(shellWords(generator.command))"
                ]
            }
        }
        return []
    }

    /// crypttab(5) as it has to be for initramfs-tools: that looks for what the root lies on, and cannot see it.
    func openableTable(_ root: borrowing Descriptor) throws -> [(name: String, text: String)] {
        let name = "etc/crypttab"
        guard plan.machine.isEncrypted, let bytes = try read(name, in: root) else { return [] }
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init).map {
            line in
            let fields = FileSystemTable.fields(line).map(String.init)
            guard fields.count > 2, encrypted(fields) != nil else { return line }
            let options = fields.count > 3 ? fields[3] : "luks"
            return fields.prefix(3).joined(separator: " ") + " \(options),initramfs"
        }
        return [(name, lines.map { "\($0)\n" }.joined())]
    }

    /// The files at a place of a generator's.
    private func names(_ place: String, in root: borrowing Descriptor) throws -> [String] {
        guard place.hasSuffix("/") else { return [place] }
        let number = linux_open_beneath(root.number, String(place.dropLast()), O_RDONLY | O_DIRECTORY)
        guard number >= 0 else { return [] }
        return try Descriptor(owning: number, name: place).names().sorted().map { place + $0 }
    }

    /// - Parameter files: what it finds in place of these.
    private func make(_ generator: Generator, with files: [(name: String, text: String)]) throws {
        let own = try TemporaryFolder()
        let root = plan.machine.root
        var command = [
            "timeout", "--kill-after=10", Finish.limit, "bwrap", "--die-with-parent", "--new-session",
            "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--cap-drop", "ALL",
        ]
        for capability in ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"] {
            command += ["--cap-add", "CAP_\(capability)"]
        }
        command += ["--clearenv", "--setenv", "PATH", "/usr/sbin:/usr/bin:/sbin:/bin"]
        var mounted: [String] = []
        defer { for point in mounted.reversed() { umount2(point, 0) } }
        /// Mounts a partition once more, as one that programs may be started from.
        func mount(_ partition: Partition, _ name: String, _ options: String? = nil) throws -> String {
            let (point, device) = ("\(own.path)/\(name)", plan.inside(partition))
            guard mkdir(point, 0o700) == 0,
                Glibc.mount(
                    device, point, partition.content?.kind.rawValue, linux_MOUNT_EXECUTABLE, options) == 0
            else { throw Failure.system("cannot mount", at: device) }
            mounted.append(point)
            return point
        }
        var tops: [String: String] = [:]
        for partition in plan.partitions where partition.content?.kind == .btrfs {
            guard let uuid = partition.content?.uuid else { continue }
            tops[uuid] = try mount(partition, uuid, "subvolid=5")
        }
        func bind(_ place: Place, _ point: String) {
            command += ["--bind", "\(tops[place.filesystem] ?? "")/\(place.path)", point]
        }
        bind(root, "/")
        for place in plan.machine.subvolumes {
            if let point = place.mount, point != "/" { bind(place, point) }
        }
        let boot = try plan.partitions.first { $0.mount == "/boot" }.map { try mount($0, "boot") }
        if let boot { command += ["--bind", boot, "/boot"] }
        // Opened anew each time, so that nothing is in use when it is unmounted.
        func folder() throws -> Descriptor {
            try boot.map { try .folder(at: $0) } ?? open("boot", below: open(root))
        }
        command += ["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--tmpfs", "/run"]
        for (index, file) in files.enumerated() {
            let copy = "\(own.path)/\(index)"
            try AtomicFile.write(Array(file.text.utf8), to: copy, mode: 0o644, replacing: false)
            command += ["--ro-bind", copy, "/\(file.name)"]
        }
        let before = try images(in: folder())
        try Program.runQuietly(command + ["--"] + generator.command)
        guard try images(in: folder()) != before else {
            throw Failure(.io, "\(generator.command[0]) has written none", at: "/boot")
        }
        try folder().syncFileSystem()
    }

    /// Which initramfs there are: when and where each was written.
    private func images(in boot: borrowing Descriptor) throws -> [String: [Int]] {
        var images: [String: [Int]] = [:]
        for name in try boot.names(startingWith: "init") {
            var status = stat()
            guard fstatat(boot.number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else { continue }
            images[name] = [
                Int(status.st_ino), status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec,
            ]
        }
        return images
    }
}
