import CLinux
import Glibc
import Plumbing

/// The space that a folder's file system has for a restore, checked before it begins.
public struct Room: Sendable {
    /// How many bytes a file may still take there.
    public let available: UInt64
    public let isBtrfs: Bool
    /// What may get in the way although there is space, each a clause for people.
    public let warnings: [String]

    /// - Parameter need: how many bytes of data are to come, the upper bound.
    public init(in folder: String, need: UInt64) throws {
        let directory = try Descriptor.folder(at: folder)
        var status = statvfs()
        guard fstatvfs(directory.number, &status) == 0 else {
            throw Failure.system("cannot query the free space", at: folder)
        }
        available =
            UInt64(status.f_bavail).multipliedReportingOverflow(by: UInt64(status.f_frsize)).partialValue
        var usage = linux_btrfs_usage()
        isBtrfs = linux_btrfs_ask_usage(directory.number, &usage) == 0
        guard isBtrfs else {
            // Not a btrfs: its free space is what it says.
            guard errno == ENOTTY || errno == EINVAL else {
                throw Failure.system("cannot query the free space", at: folder)
            }
            warnings = []
            return
        }
        var warnings: [String] = []
        // Checksums take 0.1 %, names and inodes vary; a volume of small files has come to 2 %. And the kernel reserves
        // some for every operation in progress.
        let wanted = need / 50 + (8 << 20)
        let metadata = usage.metadata_free + usage.unallocated / 2
        if metadata < wanted {
            warnings.append(
                "all disk space is allocated, and only \(readable(bytes: metadata)) is left for metadata: the restore "
                    + "may run out of space halfway; btrfs balance start -dusage=50 frees some"
            )
        }
        if usage.has_quotas != 0 {
            warnings.append(
                "quotas are on there: deleting snapshots may take minutes; btrfs quota disable turns them off"
            )
        }
        self.warnings = warnings
    }
}
