import CLinux
import Glibc
import Plumbing

/// Mounts a file system that the kernel does not know, through mount(8) and the program that it may find for it.
///
/// One child mounts, waits until its standard input ends, and unmounts. So there is no moment in which our death, by
/// SIGKILL too, would leave the mount to nobody.
final class MountKeeper {
    /// Debian's driver for exFAT goes by its own name only. What stays in the background gets none of our pipes.
    private static let script = """
        trap '' INT TERM HUP
        { mount -t "$1" -o "$2" "$3" "$4" || mount -t "$1-fuse" -o "$2" "$3" "$4"
        } </dev/null >/dev/null 2>&1 || exit
        echo mounted
        read -r _
        umount "$4" || umount -l "$4"
        """

    private var leash: Int32
    private let child: pid_t

    /// - Throws: `unavailable` where it cannot be mounted.
    init(mounting drive: Drive, at point: String, for access: Access) throws {
        let options = "nosuid,nodev,noexec" + (access == .reading ? ",ro" : "")
        var (input, answer): ([Int32], [Int32]) = ([-1, -1], [-1, -1])
        guard linux_pipe(&input) == 0 else { throw Failure.system("cannot make a pipe", at: nil) }
        leash = input[1]
        let childsInput = Descriptor(owning: input[0], name: "pipe")
        guard linux_pipe(&answer) == 0 else {
            let failure = Failure.system("cannot make a pipe", at: nil)
            Glibc.close(leash)
            throw failure
        }
        let answers = Descriptor(owning: answer[0], name: "pipe")
        let childsOutput = Descriptor(owning: answer[1], name: "pipe")
        do {
            child = try MountKeeper.spawn(
                ["sh", "-c", MountKeeper.script, "sh", drive.type, options, drive.path, point],
                input: childsInput.number, output: childsOutput.number)
        } catch {
            Glibc.close(leash)
            throw error
        }
        try childsOutput.close()
        var byte: UInt8 = 0
        guard try withUnsafeMutableBytes(of: &byte, { try answers.read(into: $0) }) == 1 else {
            end()
            throw Failure(
                .unavailable,
                "cannot mount the drive: no driver for \(drive.type), or it is in use or damaged",
                at: drive.path,
                hint:
                    "exfat-fuse and ntfs-3g are drivers; mount -t \(drive.type) \(drive.path) /mnt says more")
        }
    }

    /// Has it unmounted, and waits for that.
    func end() {
        Glibc.close(leash)
        _ = retrying { waitpid(child, nil, 0) }
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
