import CBtrfsUtil
import CLinux
import Glibc
import Plumbing

/// Carries a plan out: the partition table, the file systems, the boot loader's files and code. The subvolumes come later.
///
/// Killed anywhere, it goes on the next time: the table's id tells that this very plan was begun, a btrfs that is there stays,
/// and all else is made anew.
public struct Apply {
    private let plan: Plan
    /// The capsule that it was made from.
    private let capsule: String
    private let disk: BlockDevice

    public init(_ plan: Plan, from capsule: String) throws {
        self.plan = plan
        self.capsule = capsule
        disk = try BlockDevice(at: plan.target.path)
    }

    /// - Parameters:
    ///   - passphrase: what encrypted partitions are opened with from now on.
    ///   - folder: where the top level of each btrfs is mounted, in a folder with the name of its UUID.
    ///   - say: takes what is being done, for people.
    public func run(
        _ passphrase: [UInt8], mountingAt folder: String, say: (String) throws -> Void
    ) throws {
        if !plan.isUnderWay {
            try say(plan.tableSteps[0].title)
            try run(plan.tableSteps[0])
        }
        try showToKernel()
        // Until what is inside is mounted.
        var opened: [Opened] = []
        var places: [Int64: BlockDevice] = [:]
        for partition in plan.partitions where partition.content != nil || partition.encryption != nil {
            var device = try device(partition)
            if let encryption = partition.encryption {
                let inside = try open(encryption, partition, device, passphrase, say)
                opened.append(inside)
                device = inside.device
            }
            guard let content = partition.content, let step = plan.fileSystem(partition) else { continue }
            places[partition.number] = device
            let isThere =
                try [.btrfs, .swap].contains(content.kind) && plan.isUnderWay
                && device.probe()["UUID"] == content.uuid
            if !isThere {
                try say("\(step.title) on \(try self.device(partition).path)")
                try run(step)
            }
            if let archive = content.archive { try fill(content.kind, device, from: "\(capsule)/\(archive)") }
        }
        if plan.firmware == .bios { try writeBootCode() }
        for partition in plan.partitions where partition.content?.kind == .btrfs {
            guard let uuid = partition.content?.uuid, let device = places[partition.number] else { continue }
            let point = "\(folder)/\(uuid)"
            guard mkdir(point, 0o700) == 0 || errno == EEXIST else {
                throw Failure.system("cannot create the mount point", at: point)
            }
            guard mount(device.path, point, "btrfs", linux_MOUNT_UNTRUSTED, "subvolid=5") == 0 else {
                throw Failure.system("cannot mount", at: device.path)
            }
            try makeFolders(of: uuid, in: Descriptor.folder(at: point))
        }
        withExtendedLifetime(opened) {}
    }

    /// A run before this one has encrypted what has its UUID.
    private func open(
        _ encryption: Encryption, _ partition: Partition, _ device: BlockDevice, _ passphrase: [UInt8],
        _ say: (String) throws -> Void
    ) throws -> Opened {
        if try !plan.isUnderWay || device.probe()["UUID"] != encryption.uuid {
            let steps = plan.encryption(partition).dropLast()
            try say("\(steps[0].title) on \(device.path)")
            for step in steps { try Program.run(step.command, input: passphrase) }
        }
        return try Opened(encryption, of: device, with: passphrase)
    }

    /// What the members lie in and does not come with one of them.
    private func makeFolders(of filesystem: String, in top: borrowing Descriptor) throws {
        let places = plan.machine.subvolumes.filter { $0.filesystem == filesystem }.map(\.path)
        for path in places.sorted() {
            var folder = try Descriptor(opening: ".", in: top, O_RDONLY | O_DIRECTORY)
            var above = ""
            for name in path.split(separator: "/").map(String.init).dropLast() {
                above += above.isEmpty ? name : "/\(name)"
                if places.contains(above) { break }
                var status = stat()
                if fstatat(folder.number, name, &status, AT_SYMLINK_NOFOLLOW) != 0 {
                    let number = folder.number
                    let isSubvolume = plan.machine.containers.contains {
                        $0.filesystem == filesystem && $0.path == above
                    }
                    guard
                        isSubvolume
                            ? btrfs_util_create_subvolume_fd(number, name, 0, nil, nil) == BTRFS_UTIL_OK
                            : mkdirat(number, name, 0o755) == 0
                    else { throw Failure.system("cannot create the folder", at: above) }
                }
                folder = try Descriptor(opening: name, in: folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
            }
        }
    }

    private func run(_ step: Plan.Step) throws {
        try Program.run(step.command, input: Array(step.input.utf8))
    }

    /// The kernel has to know the partitions by the numbers and places of the plan.
    private func showToKernel() throws {
        if try !isShown() { try run(plan.tableSteps[1]) }
        guard try isShown() else {
            throw Failure(
                .io, "the kernel does not see the partitions that were written", at: plan.target.path,
                hint: "partx --update \(plan.target.path) says more; after that, the same command goes on")
        }
    }

    private func isShown() throws -> Bool {
        let seen = try disk.partitions
        return seen.count == plan.partitions.count
            && zip(seen, plan.partitions).allSatisfy {
                $0.partition == $1.number && $0.start == $1.start && ($0.size == $1.size || $1.isContainer)
            }
    }

    private func device(_ partition: Partition) throws -> BlockDevice {
        guard let device = try disk.partition(partition.number) else {
            throw Failure(
                .unavailable, "there is no device for partition \(partition.number)", at: plan.target.path,
                hint: "udevadm settle, or mknod; after that, the same command goes on")
        }
        return device
    }

    // MARK: - The boot loader

    /// What is written is read again, and compared.
    private func fill(_ kind: Content.Kind, _ device: BlockDevice, from archive: String) throws {
        let copy = try TemporaryFolder()
        let options = ["--file=\(archive)", "--directory=\(copy.path)", "--numeric-owner"]
        guard kind == .ext4 else {
            try Program.run(["tar", "--extract"] + options)
            // mcopy would follow a link to something of ours.
            let foreign = try Program.output(of: [
                "find", copy.path, "!", "-type", "f", "!", "-type", "d", "-print",
            ])
            guard foreign.isEmpty else {
                throw Failure(
                    .badData, "something in it is neither a file nor a folder, as no FAT has it", at: archive,
                    hint: "the capsule is hostile")
            }
            // One at a time: a pattern would leave out what is hidden.
            for name in try Descriptor.folder(at: copy.path).names().sorted() {
                try Program.runQuietly([
                    "mcopy", "-s", "-n", "-Q", "-m", "-i", device.path, "\(copy.path)/\(name)", "::",
                ])
            }
            let back = try TemporaryFolder()
            if try !Descriptor.folder(at: copy.path).names().isEmpty {
                try Program.runQuietly(["mcopy", "-s", "-n", "-Q", "-i", device.path, "::", back.path])
            }
            return try Program.run(["diff", "--recursive", "--brief", copy.path, back.path])
        }
        guard mount(device.path, copy.path, "ext4", linux_MOUNT_UNTRUSTED, nil) == 0 else {
            throw Failure.system("cannot mount", at: device.path)
        }
        defer { umount2(copy.path, Int32(MNT_DETACH)) }
        try Program.run(
            ["tar", "--extract", "--xattrs", "--xattrs-include=*", "--acls", "--preserve-permissions"]
                + options)
        try Descriptor.folder(at: copy.path).syncFileSystem()
        try Program.run(["tar", "--compare", "--xattrs", "--acls"] + options)
    }

    private func writeBootCode() throws {
        guard let place = BootCode.core(of: plan.machine.disk.table, plan.partitions) else {
            throw Failure(.badData, "there is no place for the boot loader", at: plan.target.path)
        }
        let folder = try Descriptor.folder(at: capsule)
        func file(_ name: String, limit: Int) throws -> [UInt8] {
            try Descriptor(opening: name, in: folder, O_RDONLY | O_NOFOLLOW | O_NONBLOCK).readAll(
                limit: limit)
        }
        let core = try file(Capture.File.bootCore, limit: Int(place.upperBound - place.lowerBound))
        let code = try file(Capture.File.bootCode, limit: BootCode.length)
        let device = try disk.open(O_RDWR)
        for (offset, bytes) in [(place.lowerBound, core), (0, code)] {
            guard lseek(device.number, Int(offset), SEEK_SET) == offset else {
                throw Failure.system("cannot write", at: disk.path)
            }
            try device.write(bytes)
        }
        try device.sync()
        posix_fadvise(device.number, 0, 0, POSIX_FADV_DONTNEED)
        guard try device.bytes(at: place.lowerBound, count: core.count) == core,
            try device.bytes(at: 0, count: code.count) == code
        else {
            throw Failure(
                .io, "the boot loader is not what was written", at: disk.path, hint: "take another disk")
        }
    }
}
