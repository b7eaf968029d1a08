import CLinux
import Glibc
import Plumbing

/// Gives the inodes of a received subvolume the flags that its record names. Nobody else changes it meanwhile, and nothing
/// outside it is reached: a path leads by way of real folders of the subvolume alone, and only files and folders are opened.
extension Subvolume {
    /// Takes copy-on-write from the files that the record names, so that the snapshots of this subvolume share their data
    /// with it. A file that there is no room to copy, and whatever else cannot be done, stays as it is: `restoreFlags`
    /// tells.
    ///
    /// - Parameter before: the flags of the inodes in the subvolume that this one was a snapshot of. A file that has no
    ///   such flag any more gets copy-on-write again.
    public func restoreNoCopyOnWrite(before: [UInt64: InodeFlags]) throws {
        var left = Set(before.filter { $0.value.contains(.noCopyOnWrite) }.keys)
        func set(_ wanted: Bool, _ path: [CChar]) throws {
            guard let found = try find(path), found.status.st_mode & S_IFMT == S_IFREG else { return }
            left.remove(UInt64(found.status.st_ino))
            do {
                _ = try found.open(O_RDWR).setNoCopyOnWrite(wanted, copyingIn: directory)
            } catch let failure as Failure where Subvolume.isRefusal(failure) {}
        }
        do {
            try FlagRecord(in: self)?.each { path, flags in
                if flags.contains(.noCopyOnWrite) { try set(true, path) }
            }
        } catch let failure as Failure where failure.status == .badData {}
        guard !left.isEmpty else { return }
        // A path is found only in what was committed.
        try directory.syncFileSystem()
        var path = [CChar](repeating: 0, count: Int(BTRFS_INO_LOOKUP_PATH_MAX))
        for inode in left where linux_btrfs_path(directory.number, inode, &path) == 0 {
            try set(false, path.prefix { $0 != 0 } + [0])
        }
    }

    /// Gives all inodes what the record names.
    ///
    /// - Parameters:
    ///   - which: of these flags.
    ///   - warn: is told what could not be done.
    public func restoreFlags(_ which: InodeFlags, warn: (String) -> Void) throws {
        var warnings = 0
        func tell(_ path: [CChar], _ why: String) {
            warnings += 1
            guard warnings <= Subvolume.mostWarnings else { return }
            let name = printable(path.dropLast().map { UInt8(bitPattern: $0) })
            warn("an inode flag did not come back: \(name): \(why)")
        }
        /// Opens the entry and sets what `set` says; goes on where the kernel does not want that.
        func change(_ path: [CChar], _ mode: Int32, _ set: (borrowing Descriptor) throws -> Bool) throws {
            do {
                guard let found = try find(path) else { return tell(path, "no such file or folder") }
                if try !set(found.open(mode)) { tell(path, "no space left for a copy of the file") }
            } catch let failure as Failure where Subvolume.isRefusal(failure) {
                tell(path, failure.what)
            }
        }
        do {
            guard let record = try FlagRecord(in: self) else { return }
            try record.each { path, flags in
                guard which.intersection(flags).contains(.noCopyOnWrite) else { return }
                try change(path, O_RDWR) { try $0.setNoCopyOnWrite(true, copyingIn: directory) }
            }
            // Nothing that protects an inode stands in the way of what is above.
            try record.each { path, flags in
                let protecting = which.intersection(flags).intersection(.protecting)
                guard !protecting.isEmpty else { return }
                guard path != Subvolume.rootPath else {
                    return tell(path, "no backup of it would be possible")
                }
                // One that has them already cannot be opened to be written to.
                try change(path, O_RDONLY) {
                    try InodeFlags(of: $0).union(protecting).set(on: $0)
                    return true
                }
            }
        } catch let failure as Failure where failure.status == .badData {
            warn("the inode flags did not come back: \(failure.what)\(failure.place.map { ": \($0)" } ?? "")")
        }
        if warnings > Subvolume.mostWarnings {
            warn(
                "inode flags of \(warnings - Subvolume.mostWarnings) more files and folders did not come back"
            )
        }
    }

    /// Whether the kernel does not want these flags there; nothing was changed then.
    private static func isRefusal(_ failure: Failure) -> Bool {
        [EPERM, EINVAL, ENOTSUP].contains(failure.code)
    }

    /// A record may name anything, and a person reads this.
    private static let mostWarnings = 20

    /// Which inodes the record names, by their numbers here; what is not there is left out.
    ///
    /// - Throws: `badData` for a record that is none.
    public func recordedFlags() throws -> [UInt64: InodeFlags] {
        var recorded: [UInt64: InodeFlags] = [:]
        try FlagRecord(in: self)?.each { path, flags in
            guard let found = try find(path) else { return }
            recorded[UInt64(found.status.st_ino)] = flags
        }
        return recorded
    }

    private static let rootPath = [CChar(bitPattern: UInt8(ascii: ".")), 0]

    /// What a record names: a regular file or a folder.
    private struct Place: ~Copyable {
        let folder: Descriptor
        let name: [CChar]
        let status: stat

        /// - Parameter mode: of access, where it is a file.
        func open(_ mode: Int32) throws -> Descriptor {
            let flags = status.st_mode & S_IFMT == S_IFDIR ? O_RDONLY | O_DIRECTORY : mode
            let number = folder.number
            let opened = retrying { openat(number, name, flags | O_NOFOLLOW | O_CLOEXEC) }
            guard opened >= 0 else { throw Failure.system("cannot open", at: folder.name) }
            return Descriptor(owning: opened, name: folder.name)
        }
    }

    /// Looks before anything is opened, as to open a device is to use it.
    ///
    /// - Returns: nil where there is no file or folder of this subvolume.
    private func find(_ path: [CChar]) throws -> Place? {
        let slash = path.lastIndex(of: CChar(bitPattern: UInt8(ascii: "/")))
        let shown = printable(path.dropLast().map { UInt8(bitPattern: $0) })
        let above: [CChar] = slash.map { path[..<$0] + [0] } ?? Subvolume.rootPath
        let name = Array(path[(slash.map { $0 + 1 } ?? 0)...])
        let number = retrying { linux_open_beneath(directory.number, above, O_RDONLY | O_DIRECTORY) }
        let absent = [ENOENT, ENOTDIR, ELOOP, EXDEV, ENAMETOOLONG]
        guard number >= 0 else {
            guard absent.contains(errno) else { throw Failure.system("cannot open the folder of", at: shown) }
            return nil
        }
        let folder = Descriptor(owning: number, name: shown)
        var status = stat()
        guard fstatat(folder.number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
            guard absent.contains(errno) else { throw Failure.system("cannot stat", at: shown) }
            return nil
        }
        guard [S_IFDIR, S_IFREG].contains(status.st_mode & S_IFMT),
            status.st_dev == (try directory.status().st_dev)
        else { return nil }
        return Place(folder: folder, name: name, status: status)
    }
}
