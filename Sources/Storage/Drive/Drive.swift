import CBlkid
import DurableFiles
import Glibc
import Plumbing

/// A file system on a block device, or on several.
struct Drive {
    /// The first of its devices.
    var path: String { devices[0].path }
    /// What libblkid calls the kind of its file system.
    var type: String { devices[0].type }
    /// The paths of the others.
    var furtherPaths: [String] { devices.dropFirst().map(\.path) }

    private let devices: [Device]

    private struct Device {
        let path: String
        let type: String
        /// Of the file system, and of this device of it; empty where libblkid knows none.
        let uuid: String
        let part: String
    }

    /// - Throws: `unavailable` where there is none; `badData` where there is more than one.
    init(labelled label: String) throws {
        devices = try Drive.devices(labelled: label)
        guard let device = devices.first else {
            throw Failure(
                .unavailable, "no drive with this label", at: "label:\(label)",
                hint: geteuid() == 0
                    ? "is it plugged in? lsblk -o NAME,LABEL shows what there is"
                    : "is it plugged in? only root may read the labels of drives")
        }
        // Two devices are one file system where btrfs has made them so; one that was copied is two.
        let isOne =
            device.type == "btrfs" && devices.allSatisfy { $0.type == device.type && $0.uuid == device.uuid }
            && Set(devices.map(\.part)).count == devices.count
        guard devices.count == 1 || isOne else {
            throw Failure(
                .badData,
                "more than one drive with this label: \(devices.map(\.path).joined(separator: ", "))",
                at: "label:\(label)", hint: "unplug all but the right one")
        }
    }

    /// The devices whose label is this one; FAT writes labels in capitals, so case does not count.
    ///
    /// Without a cache file: the system's remembers drives that are gone, and files that never were one.
    private static func devices(labelled label: String) throws -> [Device] {
        var cache: blkid_cache?
        guard blkid_get_cache(&cache, "/dev/null") == 0, let cache else {
            throw Failure(.unavailable, "libblkid cannot list the drives", at: "label:\(label)")
        }
        defer { blkid_put_cache(cache) }
        blkid_probe_all(cache)
        var devices: [Device] = []
        let iterator = blkid_dev_iterate_begin(cache)
        defer { blkid_dev_iterate_end(iterator) }
        var found: blkid_dev?
        while blkid_dev_next(iterator, &found) == 0 {
            guard let device = blkid_verify(cache, found), let name = blkid_dev_devname(device) else {
                continue
            }
            guard let found = tag("LABEL", of: name, in: cache), found.lowercased() == label.lowercased()
            else { continue }
            devices.append(
                Device(
                    path: String(cString: name), type: tag("TYPE", of: name, in: cache) ?? "",
                    uuid: tag("UUID", of: name, in: cache) ?? "",
                    part: tag("UUID_SUB", of: name, in: cache) ?? ""))
        }
        return devices.sorted { $0.path < $1.path }
    }

    private static func tag(_ tag: String, of device: UnsafePointer<CChar>, in cache: blkid_cache) -> String?
    {
        guard let value = blkid_get_tag_value(cache, tag, device) else { return nil }
        defer { free(value) }
        return String(cString: value)
    }

    /// What the kernel calls the file system where it is mounted.
    func fileSystem() throws -> FileSystem {
        if type == "btrfs" { return .btrfs(uuid: devices[0].uuid) }
        guard let number = numbers.first else { throw Failure(.unavailable, "not a block device", at: path) }
        return .device(number)
    }

    /// Of its devices.
    var numbers: [dev_t] {
        devices.compactMap {
            var status = stat()
            guard stat($0.path, &status) == 0, status.st_mode & S_IFMT == S_IFBLK else { return nil }
            return status.st_rdev
        }
    }

    /// The root of the drive's file system where all of it is mounted already, writable if it is so anywhere.
    func mountedRoot(patience: Double) throws -> Folder? {
        let fileSystem = try fileSystem()
        let mounts = try Mount.all().filter {
            $0.root == "/" && (type == "btrfs" ? $0.type == type : fileSystem == .device($0.device))
        }
        for mount in mounts.filter({ !$0.isReadOnly }) + mounts.filter(\.isReadOnly) {
            // Another file system may lie over this one's mount point.
            if let root = try? Folder.store(at: mount.point, patience: patience), root.isOn(mount),
                try root.fileSystem() == fileSystem
            {
                return root
            }
        }
        return nil
    }
}

extension Folder {
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
