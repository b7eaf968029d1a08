import CLinux
import DurableFiles
import Glibc
import Plumbing

/// Mounts a drive for this process alone.
///
/// It happens in a mount namespace of our own, and the mount leaves that again as soon as its root is open. From then
/// on it lives as long as what is open on it, so that the kernel takes it down, and waits for that, when the last
/// descriptor closes: at the end of the work, after an error, and after SIGKILL. No process has a mount to clean up.
enum PrivateMount {
    /// Every process that mounts here sees only its own drive. Never removed: that would take down another's.
    private static let point = "/run/escapepod/drive"

    /// The root of the drive's file system.
    static func root(of drive: Drive, for access: Access, patience: Double) throws -> Folder {
        for directory in ["/run/escapepod", point] {
            if mkdir(directory, 0o700) != 0 && errno != EEXIST {
                throw Failure.system("cannot create the mount point", at: directory)
            }
        }
        guard linux_unshare_mounts() == 0,
            // What is unmounted outside goes here too, but nothing that is mounted here is seen outside.
            Glibc.mount("none", "/", nil, linux_MOUNT_TREE_SLAVE, nil) == 0
        else {
            throw Failure.system(
                "cannot mount privately, for this process alone", at: drive.path,
                hint: "run it as root, or mount the drive first")
        }
        let flags = linux_MOUNT_UNTRUSTED
        let readOnly = access == .reading ? linux_MOUNT_READ_ONLY : 0
        // The kernel has to be told of the devices that are one btrfs with this one, where udev has not done that.
        let options = drive.furtherPaths.map { "device=\($0)" }.joined(separator: ",")
        if mount(drive.path, point, drive.type, flags | readOnly, options) == 0 {
            return try detached(patience)
        }
        // Someone writes to it right now: read through the same mount as theirs.
        if errno == EBUSY, access == .reading, mount(drive.path, point, drive.type, flags, options) == 0 {
            return try detached(patience)
        }
        switch errno {
        case ENODEV: return try inUserSpace(drive, for: access, patience)
        case EBUSY:
            throw Failure(
                .busy, "the drive is in use", at: drive.path,
                hint: "run it again when the drive is free")
        case EROFS, EACCES:
            throw Failure(
                .denied, "the drive is write-protected", at: drive.path,
                hint: "look for a switch on it or its reader; a restore does not need to write to it")
        default: throw Failure.system("cannot mount the drive", at: drive.path)
        }
    }

    private static func detached(_ patience: Double) throws -> Folder {
        defer { umount2(point, Int32(MNT_DETACH)) }
        return try Folder.store(at: point, patience: patience)
    }

    // MARK: A file system that the kernel does not know, through mount(8) and the program that it may find for it

    /// Mounts, and lets go of the mount when we have opened its root, or have died before that: the file system's own
    /// process would otherwise keep the namespace, and so the mount. It gets none of our pipes. Debian's driver for
    /// exFAT goes by its own name only.
    private static let script = """
        trap '' INT TERM HUP
        { mount -t "$1" -o "$2" "$3" "$4" || mount -t "$1-fuse" -o "$2" "$3" "$4"
        } </dev/null >/dev/null 2>&1 || exit
        echo mounted
        read -r _
        umount -l "$4"
        """

    private static func inUserSpace(_ drive: Drive, for access: Access, _ patience: Double) throws
        -> Folder
    {
        let options = "nosuid,nodev,noexec" + (access == .reading ? ",ro" : "")
        let leash = try Pipe()
        let answers = try Pipe()
        let child = try spawn(
            ["sh", "-c", script, "sh", drive.type, options, drive.path, point],
            input: leash.output.number, output: answers.inputNumber)
        defer {
            leash.close()
            _ = retrying { waitpid(child, nil, 0) }
        }
        answers.close()
        var byte: UInt8 = 0
        guard try withUnsafeMutableBytes(of: &byte, { try answers.output.read(into: $0) }) == 1 else {
            throw Failure(
                .unavailable,
                "cannot mount the drive: no driver for \(drive.type), or it is in use or damaged",
                at: drive.path,
                hint:
                    "exfat-fuse and ntfs-3g are drivers; mount -t \(drive.type) \(drive.path) /mnt shows more"
            )
        }
        return try Folder.store(at: point, patience: patience)
    }

    /// Starts a program in a process group of its own, out of reach of the terminal's signals.
    private static func spawn(_ command: [String], input: Int32, output: Int32) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        var attributes = posix_spawnattr_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawnattr_init(&attributes)
        var arguments: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) } + [nil]
        defer {
            posix_spawn_file_actions_destroy(&actions)
            posix_spawnattr_destroy(&attributes)
            for argument in arguments { free(argument) }
        }
        posix_spawn_file_actions_adddup2(&actions, input, 0)
        posix_spawn_file_actions_adddup2(&actions, output, 1)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))
        var child = pid_t()
        let error = posix_spawnp(&child, command[0], &actions, &attributes, &arguments, environ)
        guard error == 0 else { throw Failure.system("cannot run \(command[0])", at: nil, errno: error) }
        return child
    }
}
