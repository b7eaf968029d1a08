import CLinux
import Glibc
import Plumbing

/// What room a folder's file system has for a restore, looked at before it begins.
public struct Room: Sendable {
    /// What a file may still take there, in bytes.
    public let available: UInt64
    /// What may be in the way although there is room, each a clause for a person.
    public let warnings: [String]

    /// - Parameter need: how many bytes of data are to come, the upper bound.
    public init(in folder: String, need: UInt64) throws {
        let directory = try Descriptor.folder(at: folder)
        var status = statvfs()
        guard fstatvfs(directory.number, &status) == 0 else {
            throw Failure.system("cannot ask for the room", at: folder)
        }
        available =
            UInt64(status.f_bavail).multipliedReportingOverflow(by: UInt64(status.f_frsize)).partialValue
        var usage = linux_btrfs_usage()
        guard linux_btrfs_ask_usage(directory.number, &usage) == 0 else {
            // No btrfs: what it has is what it says.
            guard errno == ENOTTY || errno == EINVAL else {
                throw Failure.system("cannot ask for the room", at: folder)
            }
            warnings = []
            return
        }
        var warnings: [String] = []
        // Sums take 0.1 %, names and inodes what they take; a volume of small files has come to 2 %. And the kernel sets
        // some aside for each thing that is under way.
        let wanted = need / 50 + (8 << 20)
        let metadata = usage.metadata_free + usage.unallocated / 2
        if metadata < wanted {
            warnings.append(
                "all of the disk is given out, and of the room for metadata \(readable(bytes: metadata)) is left: the "
                    + "restore may run out of room in the middle; btrfs balance start -dusage=50 gives some back"
            )
        }
        if usage.has_quotas != 0 {
            warnings.append(
                "quotas are on there: deleting snapshots may take minutes; btrfs quota disable ends that")
        }
        self.warnings = warnings
    }
}
