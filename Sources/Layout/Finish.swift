import CBtrfsUtil
import CLinux
import Glibc
import Plumbing

/// The end of a rebuild, when every subvolume is in its place: what a stream does not carry, what has to follow a new identity,
/// and a look at whether it can start.
public struct Finish {
    let plan: Plan
    let capsule: String
    /// Where the top level of each btrfs is mounted, by its UUID.
    private let folder: String

    public init(_ plan: Plan, from capsule: String, mountedAt folder: String) {
        self.plan = plan
        self.capsule = capsule
        self.folder = folder
    }

    private func path(of place: Place) -> String { "\(folder)/\(place.filesystem)/\(place.path)" }

    /// A folder of its file system, by no link.
    private func open(_ path: String, of place: Place) throws -> Descriptor {
        try open(path, below: Descriptor.folder(at: "\(folder)/\(place.filesystem)"))
    }

    func open(_ path: String, below top: borrowing Descriptor) throws -> Descriptor {
        let number = openBeneath(top.number, path.isEmpty ? "." : path)
        guard number >= 0 else { throw Failure.system("cannot open", at: top.path(of: path)) }
        return Descriptor(owning: number, name: top.path(of: path))
    }

    func open(_ place: Place) throws -> Descriptor { try open(place.path, of: place) }

    /// How a person gets at the root, to mend something.
    public var wayIn: String {
        let root = plan.machine.root
        let partition = plan.partitions.first { $0.content?.uuid == root.filesystem }
        let opening =
            partition.flatMap { partition in
                partition.encryption.map {
                    shellWords(["cryptsetup", "open", plan.device(partition), $0.opened]) + " && "
                }
            } ?? ""
        return opening
            + shellWords(["mount", "-o", "subvol=/\(root.path)", partition.map(plan.inside) ?? "", "/mnt"])
    }

    /// - Parameter say: takes what was changed, for people.
    /// - Returns: what needs a person's eye before this machine can start; empty where nothing was found.
    public func run(say: (String) throws -> Void) throws -> [String] {
        for place in plan.machine.subvolumes where place.isDefault { try setDefault(place) }
        for place in plan.machine.subvolumes where place.folderTime != 0 { try restoreTime(above: place) }
        var concerns = try plan.machine.swapFiles.compactMap(make)
        let root = try open(plan.machine.root)
        for change in try adapt(root) { try say(change) }
        if plan.isDrill { try Listener.install(in: root) }
        concerns += try missing(root)
        // Those of a copy are of no use to anybody.
        if !plan.isDrill { concerns += try keys(root) }
        concerns += try kernels(root)
        concerns += try initramfs(root, say: say)
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
        else { throw Failure.system("cannot make it the default subvolume", at: path(of: place)) }
    }

    /// The subvolume of a swapfile, and the file.
    ///
    /// - Returns: what was in the way, for people.
    private func make(_ swap: SwapFile) throws -> String? {
        let top = try Descriptor.folder(at: "\(folder)/\(swap.filesystem)")
        let (parent, name) = swap.subvolume.lastName
        let above = try open(parent, below: top)
        let flags = try unprotect(above)
        let result = btrfs_util_create_subvolume_fd(above.number, name, 0, nil, nil)
        guard result == BTRFS_UTIL_OK || errno == EEXIST else {
            throw Failure.system("cannot create the subvolume", at: above.path(of: name))
        }
        try protect(above, flags)
        let subvolume = try open(swap.subvolume, below: top)
        guard faccessat(subvolume.number, swap.name, F_OK, AT_SYMLINK_NOFOLLOW) != 0 else { return nil }
        let command = [
            "btrfs", "filesystem", "mkswapfile", "--size", "\(swap.size)", "--uuid", swap.uuid,
            subvolume.path(of: swap.name),
        ]
        do { try Program.runQuietly(command) } catch let failure as Failure {
            return "the swapfile could not be made anew: \(failure.what)"
        }
        return nil
    }

    /// The subvolume came into its folder long after all else did.
    private func restoreTime(above place: Place) throws {
        let folder = try open(place.path.lastName.parent, of: place)
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
    func read(_ name: String, in root: borrowing Descriptor) throws -> [UInt8]? {
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
    let (parent, name) = path.lastName
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
    guard fstatat(above.number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
        guard errno == ENOENT else { throw Failure.system("cannot stat", at: top.path(of: path)) }
        return false
    }
    // BTRFS_FIRST_FREE_OBJECTID: the root of a subvolume.
    guard status.st_mode & S_IFMT == S_IFDIR, status.st_ino == 256 else { throw foreign }
    return true
}
