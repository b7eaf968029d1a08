import CLinux
import Glibc
public import JSON
import Plumbing

/// A copy of a machine that is started here as a test: in qemu, without a network, beside the machine itself.
///
/// What is in it is what was backed up, but for a unit that says on the second serial port how it started.
public struct Boot {
    private let machine: Machine
    private let disk: BlockDevice
    private let firmware: Firmware
    static let program = "qemu-system-x86_64"
    /// How long it may say nothing until something is typed, in seconds.
    private static let patience = 15

    /// How it started.
    public struct Outcome: Equatable, Sendable {
        /// As systemctl(1) has it: `running`, `degraded`, `maintenance` and so on.
        public let state: String
        /// The units that failed.
        public let failed: [String]
        /// From power-on.
        public let seconds: Int

        /// For the record of a drill.
        public var json: JSON {
            [
                "state": .string(state), "failed": .array(failed.map { .string($0) }),
                "startup": .integer(Int64(seconds)),
            ]
        }
    }

    /// - Parameter path: the disk, which `Finish` has completed, and of which nothing is mounted any more.
    public init(_ capsule: Capsule, on path: String) throws {
        machine = capsule.machine
        disk = try BlockDevice(at: path)
        guard let firmware = machine.firmware.first else {
            throw Failure(.badData, "the machine has no boot loader", at: path)
        }
        guard machine.architecture == "x86_64" else {
            throw Failure(
                .unavailable, "cannot start a machine of the kind \(printable(machine.architecture)) here",
                hint: "a drill with --boot starts x86_64 alone")
        }
        self.firmware = firmware
        for device in [disk] + (try disk.partitions) {
            // What was encrypted is closed a moment after it is unmounted.
            var isInUse = try device.isInUse
            for _ in 0..<50 where isInUse {
                usleep(100_000)
                isInUse = try device.isInUse
            }
            guard !isInUse else {
                throw Failure.system("cannot start from what is in use", at: device.path, errno: EBUSY)
            }
        }
    }

    /// Starts it, waits until it has said how it is, and turns it off.
    ///
    /// - Parameters:
    ///   - limit: in seconds.
    ///   - digits: the passphrase of what is encrypted, which is typed.
    /// - Throws: `badData` where it does not start within the limit.
    public func run(limit: Int, typing digits: [UInt8]) throws -> Outcome {
        for partition in machine.disk.partitions { try giveIdentity(partition, digits) }
        if firmware == .uefi { try showLoader() }
        // What the kernel has of the whole disk is older than what was written by way of its partitions.
        try Program.run(["blockdev", "--flushbufs", disk.path])
        let folder = try TemporaryFolder()
        let keyboard = try Keyboard(in: folder.path)
        // What qemu says comes with what the copy says, so that it can be told apart.
        var child = try Child(Program.merged(command(in: folder.path)), input: [])
        let started = now()
        var listener = Listener()
        let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 16)
        defer { room.deallocate() }
        while !listener.isAtEnd {
            var waiting = pollfd(fd: child.output.number, events: Int16(POLLIN), revents: 0)
            let left = limit - (now() - started)
            guard left > 0 else { throw fails("did not say within \(limit) s that it has started") }
            guard retrying({ poll(&waiting, 1, Int32(min(left, Boot.patience) * 1000)) }) > 0 else {
                // When it asks, and where, is its own affair.
                try keyboard.type(digits)
                continue
            }
            let count = try child.output.read(into: room)
            guard count > 0 else {
                let ending = try child.wait()
                guard ending.isSuccess else {
                    throw Failure(
                        .io, "qemu \(ending)\(listener.complaint)", at: disk.path,
                        hint: "mend that, and run it again")
                }
                throw fails("turned itself off before it said that it has started")
            }
            listener.hear(room[..<count])
        }
        return Outcome(state: listener.state, failed: listener.failed, seconds: now() - started)
    }

    private func fails(_ what: String) -> Failure {
        Failure(
            .badData, "the copy of the machine \(what)", at: disk.path,
            hint: "rebuild it onto a spare disk, start it from there, and see what it says")
    }

    private func now() -> Int {
        var time = timespec()
        clock_gettime(CLOCK_BOOTTIME, &time)
        return time.tv_sec
    }

    private func device(_ partition: Partition) throws -> BlockDevice {
        guard let device = try disk.partition(partition.number) else {
            throw Failure(.unavailable, "there is no device for partition \(partition.number)", at: disk.path)
        }
        return device
    }

    // MARK: - What it lacks until nothing of it is mounted here

    private func giveIdentity(_ partition: Partition, _ passphrase: [UInt8]) throws {
        guard let encryption = partition.encryption else {
            guard let content = partition.content, content.kind == .btrfs else { return }
            return try giveIdentity(content.uuid, to: device(partition))
        }
        let device = try device(partition)
        guard try device.probe()["UUID"] != encryption.uuid else { return }
        if let content = partition.content, content.kind == .btrfs {
            let opened = try Opened(encryption, of: device, with: passphrase)
            try giveIdentity(content.uuid, to: opened.device)
        }
        try Program.run(encryption.identifying(device.path))
    }

    /// A kernel does not mount two btrfs with one UUID, so the copy gets it last. btrfstune looks for others that have it, in a
    /// /dev of its own that has no others.
    private func giveIdentity(_ uuid: String, to device: BlockDevice) throws {
        guard try device.probe()["UUID"]?.lowercased() != uuid.lowercased() else { return }
        try Program.runQuietly([
            "unshare", "--mount", "--propagation", "private", "sh", "-ec",
            "mount -t tmpfs none /dev; mknod /dev/copy b ${1%:*} ${1#*:}; BLKID_FILE=/dev/null exec btrfstune -f -M $2 /dev/copy",
            "sh", device.number, uuid,
        ])
    }

    /// The firmware of qemu knows no loader, so it has to be where every firmware looks.
    private func showLoader() throws {
        guard let partition = machine.disk.partitions.first(where: { isEFISystem($0.type) }),
            let entry = machine.bootEntry
        else { return }
        let device = try device(partition).path
        let names = entry.loader.split(separator: "\\").map(String.init)
        guard names.count > 1, names.allSatisfy(\.isPlainPath), names.allSatisfy({ !$0.contains("/") }),
            (try? Program.runQuietly(["mdir", "-b", "-i", device, "::/EFI/BOOT/BOOTX64.EFI"])) == nil
        else { return }
        let copy = try TemporaryFolder()
        let folder = names.dropLast().joined(separator: "/")
        try Program.runQuietly(["mcopy", "-s", "-n", "-Q", "-i", device, "::/\(folder)", "\(copy.path)/from"])
        try? Program.runQuietly(["mmd", "-i", device, "::/EFI/BOOT"])
        for name in try Descriptor.folder(at: "\(copy.path)/from").names()
        where name.lowercased().hasSuffix(".efi") {
            let file = "\(copy.path)/from/\(name)"
            // What a loader loads lies beside it.
            for target in [name] + (name.lowercased() == names.last?.lowercased() ? ["BOOTX64.EFI"] : []) {
                try Program.runQuietly(["mcopy", "-o", "-Q", "-i", device, file, "::/EFI/BOOT/\(target)"])
            }
        }
    }

    // MARK: - qemu

    private func command(in folder: String) throws -> [String] {
        let drivers = machine.disk.driver.split(separator: ",")
        let drive =
            drivers.contains("nvme")
            ? "nvme,serial=drill" : drivers.contains("sd") ? "ide-hd" : "virtio-blk-pci"
        let accelerator = try Boot.isFast() ? "kvm" : "tcg,thread=multi"
        var words = [Boot.program, "-nodefaults", "-no-user-config", "-no-reboot"]
        words += ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny"]
        words += ["-machine", "q35", "-accel", accelerator, "-cpu", "max", "-smp", "2", "-m", "2048"]
        words += ["-display", "none", "-nic", "none", "-device", "virtio-rng-pci"]
        words += Keyboard.words(in: folder) + ["-serial", "stdio", "-device", "\(drive),drive=disk"]
        words += ["-drive", "if=none,id=disk,format=raw,cache=unsafe,file=\(disk.path)"]
        guard firmware == .uefi else { return words }
        guard let code = Boot.code.first(where: { exists($0) }) else {
            throw Failure(
                .unavailable, "no UEFI firmware for qemu is installed", hint: "it is in the package ovmf")
        }
        let variables = "\(folder)/variables"
        try Program.run(["cp", "--", code.replacing("_CODE", with: "_VARS"), variables])
        for (unit, file) in [("0,readonly=on", code), ("1", variables)] {
            words += ["-drive", "if=pflash,format=raw,unit=\(unit),file=\(file)"]
        }
        return words
    }

    /// Whether the processor itself can do it. In a machine that is virtual, that often fails.
    private static func isFast() throws -> Bool {
        guard access("/dev/kvm", R_OK | W_OK) == 0 else { return false }
        let processor = try Descriptor(opening: "/proc/cpuinfo", O_RDONLY).readAll(limit: 16 << 20)
        return !String(decoding: processor, as: UTF8.self).split(whereSeparator: \.isWhitespace).contains(
            "hypervisor")
    }

    /// Where distributions have it; what it remembers starts from the file of the same name with VARS.
    private static let code = [
        "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
        "/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/qemu/ovmf-x86_64-4m-code.bin",
    ]
}

/// What types into the copy, on its keyboard and on the first serial port.
struct Keyboard: ~Copyable {
    private let keys: Descriptor
    private let port: Descriptor

    init(in folder: String) throws {
        let keys = try Keyboard.pipe("\(folder)/keys")
        port = try Keyboard.pipe("\(folder)/port")
        self.keys = keys
    }

    /// What qemu calls a pipe: what it writes is of no use.
    private static func pipe(_ path: String) throws -> Descriptor {
        guard mkfifo("\(path).in", 0o600) == 0, symlink("/dev/null", "\(path).out") == 0 else {
            throw Failure.system("cannot create a pipe", at: path)
        }
        // With a reader of its own it never waits for one.
        return try Descriptor(opening: "\(path).in", O_RDWR | O_NONBLOCK)
    }

    /// How qemu is told of both.
    static func words(in folder: String) -> [String] {
        ["keys", "port"].flatMap { ["-chardev", "pipe,id=\($0),path=\(folder)/\($0)"] }
            + ["-mon", "chardev=keys,mode=readline", "-serial", "chardev:port"]
    }

    /// Types digits, and Enter.
    func type(_ digits: [UInt8]) throws {
        guard !digits.isEmpty else { return }
        let names = digits.map { String(Unicode.Scalar($0)) } + ["ret"]
        try keys.write(Array(names.map { "sendkey \($0)\n" }.joined().utf8))
        try port.write(digits + [UInt8(ascii: "\r")])
    }
}

/// What the copy says, a line each. Anything may be in it.
struct Listener {
    private(set) var state = ""
    private(set) var failed: [String] = []
    private(set) var isAtEnd = false
    /// What qemu itself said last.
    private(set) var complaint = ""
    private var line: [UInt8] = []

    mutating func hear(_ bytes: some Sequence<UInt8>) {
        for byte in bytes where !isAtEnd {
            // A firmware may write there, too, and without an end.
            if byte == UInt8(ascii: "\n") || line.count == 4096 {
                take(printable(line).split(separator: " ").map(String.init))
                line = []
            } else if byte != UInt8(ascii: "\r") {
                line.append(byte)
            }
        }
    }

    private mutating func take(_ words: [String]) {
        if words.first == "\(Boot.program):" { complaint = words.dropFirst().reduce(":") { "\($0) \($1)" } }
        guard words.first == Listener.mark, words.count > 1 else { return }
        switch (words[1], words.dropFirst(2).first) {
        case ("state", let word?): state = word
        case ("failed", let word?) where failed.count < 100: failed.append(word)
        case ("end", _): isAtEnd = true
        default: break
        }
    }

    private static let mark = "escapepod-drill:"

    /// The unit of systemd that says it. It runs when nothing is still starting.
    static let unit = """
        [Unit]
        Description=Says on the second serial port how this copy of a machine has started
        DefaultDependencies=no

        [Service]
        ExecStart=/bin/sh -c 'while state=$$(systemctl is-system-running); [ "$$state" = starting -o "$$state" = initializing ]; \
        do sleep 1; done; echo; echo "\(mark) state $$state"; \
        systemctl list-units --failed --plain --no-legend | sed "s/ .*//; s/^/\(mark) failed /"; echo "\(mark) end"'
        StandardOutput=tty
        TTYPath=/dev/ttyS1

        """

    /// Puts the unit into a root that is not running.
    static func install(in root: borrowing Descriptor) throws {
        let name = "escapepod-drill.service"
        let flags = O_RDONLY | O_DIRECTORY
        let number = linux_open_beneath(root.number, "etc/systemd/system", flags)
        guard number >= 0 else {
            throw Failure(
                .unavailable, "the machine has no systemd", at: root.name,
                hint: "a drill with --boot needs that to be told that it has started")
        }
        let folder = Descriptor(owning: number, name: "/etc/systemd/system")
        let file = try Descriptor(
            opening: name, in: folder, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o644)
        try file.write(Array(unit.utf8))
        try file.close()
        for target in ["multi-user", "rescue", "emergency"] {
            let wants = "\(target).target.wants"
            guard mkdirat(folder.number, wants, 0o755) == 0 || errno == EEXIST else {
                throw Failure.system("cannot create", at: folder.path(of: wants))
            }
            let wanted = try Descriptor(opening: wants, in: folder, flags | O_NOFOLLOW)
            guard symlinkat("../\(name)", wanted.number, name) == 0 else {
                throw Failure.system("cannot create", at: folder.path(of: wants))
            }
        }
    }
}
