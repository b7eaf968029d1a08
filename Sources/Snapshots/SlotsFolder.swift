import CBtrfsUtil
import Glibc
import Plumbing

/// The two folders that the slots are in, and what has to be true of them.
extension Slots {
    /// The folder of all stores' slots; nil where it is not there.
    func home() throws -> Descriptor? { try folder(Slots.home, in: volume.directory) }

    /// The folder of the slots; nil where it is not there.
    func directory() throws -> Descriptor? {
        guard let home = try home() else { return nil }
        return try folder(name, in: home)
    }

    /// The same to change what is in it, without what a rollback left there.
    func changeable() throws -> Descriptor? {
        guard let directory = try directory() else { return nil }
        try requireWritable()
        try clearStubs(in: directory)
        return directory
    }

    /// The folder of the slots, made where it is not there.
    func made() throws -> Descriptor {
        try requireWritable()
        let home = try made(Slots.home, in: volume.directory)
        let directory = try made(name, in: home)
        try clearStubs(in: directory)
        return directory
    }

    private func made(_ name: String, in directory: borrowing Descriptor) throws -> Descriptor {
        guard mkdirat(directory.number, name, 0o700) == 0 || errno == EEXIST else {
            throw Failure.system("cannot create the directory", at: directory.path(of: name))
        }
        guard let made = try folder(name, in: directory) else {
            throw Failure(.busy, "somebody else keeps removing it", at: directory.path(of: name))
        }
        return made
    }

    /// A folder of ours; nil where it is not there.
    ///
    /// - Throws: `denied` where others have a hand in it.
    private func folder(_ name: String, in directory: borrowing Descriptor) throws -> Descriptor? {
        let path = directory.path(of: name)
        var status = stat()
        guard fstatat(directory.number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
            guard errno == ENOENT else { throw Failure.system("cannot stat", at: path) }
            return nil
        }
        let hint =
            "others may have put anything in it: move it away, or, if you know its content, make it root's with mode 0700"
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw Failure(.denied, "not a folder, but the snapshots belong there", at: path, hint: hint)
        }
        let folder = try Descriptor(opening: name, in: directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
        try folder.requirePrivate(hint: hint)
        return folder
    }

    private func requireWritable() throws {
        let number = volume.directory.number
        var isReadOnly = false
        try btrfs("cannot query the subvolume", at: volume.path) {
            btrfs_util_get_subvolume_read_only_fd(number, &isReadOnly)
        }
        guard !isReadOnly else {
            throw Failure(
                .denied, "the volume is a read-only subvolume, and its snapshots are kept in it",
                at: volume.path,
                hint: "back up its source, or take a writable snapshot of it; "
                    + "if it was only set read-only: btrfs property set \(volume.path) ro false")
        }
    }
}
