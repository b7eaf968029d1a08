import CBlkid
import CLinux
import Glibc
import Plumbing

/// Finds the one drive of a label and runs `body` with the root of its file system: where it is mounted, else mounted
/// for this process alone and unmounted again.
func withDrive<Result>(
    labelled label: String, for access: Access, _ body: (Directory) throws -> Result
) throws -> Result {
    let drive = try Drive(labelled: label)
    return try body(try drive.mountedRoot() ?? PrivateMount.root(of: drive, for: access))
}

/// A block device with a file system.
struct Drive {
    let path: String
    /// What libblkid calls the kind of its file system.
    let type: String

    /// - Throws: `unavailable` where there is none; `badData` where there is more than one.
    init(labelled label: String) throws {
        let drives = try Drive.all(labelled: label)
        guard let drive = drives.first else {
            throw Failure(
                .unavailable, "no drive with this label", at: "label:\(label)",
                hint: geteuid() == 0
                    ? "is it plugged in? lsblk -o NAME,LABEL shows what there is"
                    : "is it plugged in? only root may read the labels of drives")
        }
        guard drives.count == 1 else {
            throw Failure(
                .badData,
                "more than one drive with this label: \(drives.map(\.path).joined(separator: ", "))",
                at: "label:\(label)", hint: "unplug all but the one that is meant")
        }
        self = drive
    }

    private init(path: String, type: String) {
        self.path = path
        self.type = type
    }

    /// The drives whose label is this one; FAT writes labels in capitals, so case does not count.
    ///
    /// Without a cache file: the system's remembers drives that are gone, and files that never were one.
    private static func all(labelled label: String) throws -> [Drive] {
        var cache: blkid_cache?
        guard blkid_get_cache(&cache, "/dev/null") == 0, let cache else {
            throw Failure(.unavailable, "cannot ask libblkid for drives", at: "label:\(label)")
        }
        defer { blkid_put_cache(cache) }
        blkid_probe_all(cache)
        var drives: [Drive] = []
        let iterator = blkid_dev_iterate_begin(cache)
        defer { blkid_dev_iterate_end(iterator) }
        var found: blkid_dev?
        while blkid_dev_next(iterator, &found) == 0 {
            guard let device = blkid_verify(cache, found), let name = blkid_dev_devname(device) else {
                continue
            }
            guard let found = tag("LABEL", of: name, in: cache), found.lowercased() == label.lowercased()
            else { continue }
            drives.append(Drive(path: String(cString: name), type: tag("TYPE", of: name, in: cache) ?? ""))
        }
        return drives.sorted { $0.path < $1.path }
    }

    private static func tag(_ tag: String, of device: UnsafePointer<CChar>, in cache: blkid_cache) -> String?
    {
        guard let value = blkid_get_tag_value(cache, tag, device) else { return nil }
        defer { free(value) }
        return String(cString: value)
    }

    /// The root of the drive's file system where all of it is mounted already, writable if it is so anywhere.
    func mountedRoot() throws -> Directory? {
        let number = try Drive.number(of: path)
        let mounts = try Mount.all().filter {
            $0.root == "/" && ($0.device == number || (try? Drive.number(of: $0.source)) == number)
        }
        for mount in mounts.filter({ !$0.isReadOnly }) + mounts.filter(\.isReadOnly) {
            // Another file system may lie over this one's mount point.
            if let root = try? Directory(root: mount.point), root.isOn(mount) { return root }
        }
        return nil
    }

    private static func number(of path: String) throws -> dev_t {
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFBLK else {
            throw Failure.system("not a block device", at: path)
        }
        return status.st_rdev
    }
}

extension Directory {
    /// Whether the kernel says that this descriptor is of that mount.
    fileprivate func isOn(_ mount: Mount) -> Bool {
        guard
            let info = try? Descriptor(opening: "/proc/self/fdinfo/\(number)", O_RDONLY).readAll(
                limit: 64 << 10)
        else { return false }
        return info.split(separator: UInt8(ascii: "\n")).contains {
            String(decoding: $0, as: UTF8.self) == "mnt_id:\t\(mount.id)"
        }
    }
}
