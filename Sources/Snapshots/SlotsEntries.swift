import CBtrfsUtil
import Glibc
import Plumbing

/// The entries of the slots' folder: what has a name there, taking, renaming and deleting snapshots.
extension Slots {
    enum Entry {
        case subvolume
        case stub
    }

    /// What has that name; nil where nothing has.
    ///
    /// - Throws: `badData` where it is something that we never made.
    func entry(_ name: String, in directory: borrowing Descriptor) throws -> Entry? {
        var status = stat()
        guard fstatat(directory.number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
            guard errno == ENOENT else {
                throw Failure.system("cannot stat", at: directory.path(of: name))
            }
            return nil
        }
        let isFolder = status.st_mode & S_IFMT == S_IFDIR
        if isFolder, status.st_ino == stubInode { return .stub }
        // The root of a subvolume has always this number (BTRFS_FIRST_FREE_OBJECTID).
        guard isFolder, status.st_ino == 256 else {
            throw Failure(
                .badData, "not a snapshot, but only snapshots belong there", at: directory.path(of: name),
                hint: "escapepod did not create it: move it away")
        }
        return .subvolume
    }

    func exists(_ name: String, in directory: borrowing Descriptor) throws -> Bool {
        var status = stat()
        if fstatat(directory.number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 { return true }
        guard errno == ENOENT else { throw Failure.system("cannot stat", at: directory.path(of: name)) }
        return false
    }

    func snapshot(_ slot: Slot, in directory: borrowing Descriptor) throws -> Snapshot? {
        guard case .subvolume = try entry(slot.rawValue, in: directory) else { return nil }
        return try held(slot, in: directory)
    }

    func held(_ slot: Slot, in directory: borrowing Descriptor) throws -> Snapshot {
        try Snapshot(of: Subvolume(slot.rawValue, in: directory), slot: slot)
    }

    func take(_ source: borrowing Subvolume, as name: String, in directory: borrowing Descriptor)
        throws
    {
        let (from, to) = (source.directory.number, directory.number)
        let (what, place) = ("cannot take a snapshot", directory.path(of: name))
        var code: Int32 = 0
        do {
            try btrfs(what, at: place) {
                let error = btrfs_util_create_snapshot_fd2(
                    from, to, name, BTRFS_UTIL_CREATE_SNAPSHOT_READ_ONLY, nil, nil)
                code = errno
                return error
            }
        } catch {
            switch code {
            case ETXTBSY:
                throw Failure(
                    .io, "\(what): a swap file is in use in the volume",
                    at: source.swapFileInUse ?? source.path,
                    hint:
                        "btrfs takes no snapshot meanwhile: swapoff, and recreate it in a subvolume of its own"
                )
            case ENOSPC, EDQUOT:
                throw Failure.system(
                    what, at: place, errno: code,
                    hint: "free some space in the volume itself, not in the store: "
                        + "btrfs filesystem usage \(volume.path) shows what uses it")
            default: throw error
            }
        }
    }

    func delete(_ slot: Slot, in directory: borrowing Descriptor) throws {
        try delete(slot.rawValue, in: directory)
    }

    func delete(_ name: String, in directory: borrowing Descriptor) throws {
        guard case .subvolume = try entry(name, in: directory) else { return }
        try requireOurs(name, in: directory)
        try Subvolume.delete(name, in: directory)
    }

    /// Ours is a snapshot of this volume, or a read-only one of another: a received one, or one of the volume before a
    /// rollback. A subvolume that somebody works in is not.
    private func requireOurs(_ name: String, in directory: borrowing Descriptor) throws {
        let there = try Snapshot(of: Subvolume(name, in: directory))
        let live = try Snapshot(of: volume)
        guard there.parentUUID == live.uuid || there.isReadOnly && there.parentUUID != nil else {
            throw Failure(
                .badData, "refusing to delete what is not a snapshot of the volume",
                at: directory.path(of: name),
                hint: "escapepod did not create it: move it away")
        }
    }

    func rename(_ name: String, to slot: Slot, in directory: borrowing Descriptor) throws {
        guard renameat(directory.number, name, directory.number, slot.rawValue) == 0 else {
            throw Failure.system("cannot rename to \(slot.rawValue)", at: directory.path(of: name))
        }
    }
}
