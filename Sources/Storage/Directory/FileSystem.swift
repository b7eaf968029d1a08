import CLinux
import DurableFiles
import Glibc
import Plumbing

/// Which file system something lies on, by what the kernel and libblkid tell of it: never by a path, a label or a source that
/// somebody named.
enum FileSystem: Hashable {
    /// The number of its device, or the one that the kernel made up for it.
    case device(dev_t)
    /// A btrfs, which may have several devices, and has a number for each subvolume.
    case btrfs(uuid: String)

    /// That of an open file or folder.
    init(of descriptor: borrowing Descriptor) throws {
        var uuid = [UInt8](repeating: 0, count: 16)
        switch linux_btrfs_uuid(descriptor.number, &uuid) {
        case 1: self = .btrfs(uuid: uuid.uuid)
        case 0: self = .device(try descriptor.status().st_dev)
        default: throw Failure.system("cannot identify the file system", at: descriptor.name)
        }
    }

    /// Those that this one lies in itself, as an image on a loop device does, at any depth; this one is among them.
    ///
    /// An image in another mount namespace cannot be told.
    ///
    /// - Parameter further: devices that it is on; of a btrfs that is not mounted nothing else tells them.
    func andBelow(devices further: [dev_t] = []) -> Set<FileSystem> {
        var found: Set<FileSystem> = [self]
        var devices = devices + further.map(deviceNumbers)
        var seen: Set<String> = []
        while let device = devices.popLast() {
            guard seen.insert(device).inserted else { continue }
            devices += FileSystem.numbers(in: "/sys/dev/block/\(device)/slaves")
            // A partition lies in the folder of its disk.
            for image in ["loop/backing_file", "../loop/backing_file"] {
                guard
                    let text = try? Descriptor(opening: "/sys/dev/block/\(device)/\(image)", O_RDONLY)
                        .readAll(limit: 64 << 10),
                    let file = try? Descriptor(
                        opening: String(decoding: text.dropLast(), as: UTF8.self), O_RDONLY | O_NONBLOCK),
                    let below = try? FileSystem(of: file), found.insert(below).inserted
                else { continue }
                devices += below.devices
            }
        }
        return found
    }

    /// The numbers of its block devices, as sysfs writes them.
    private var devices: [String] {
        switch self {
        case .device(let number): [deviceNumbers(number)]
        case .btrfs(let uuid): FileSystem.numbers(in: "/sys/fs/btrfs/\(uuid)/devices")
        }
    }

    private static func numbers(in folder: String) -> [String] {
        guard let directory = try? Folder.store(at: folder), let names = try? directory.names() else {
            return []
        }
        return names.compactMap { name in
            guard let text = try? Descriptor(opening: "\(folder)/\(name)/dev", O_RDONLY).readAll(limit: 64)
            else { return nil }
            return String(decoding: text.dropLast(), as: UTF8.self)
        }
    }
}
