import CLinux
import Glibc
import Plumbing

extension Subvolume {
    /// Whether new data in it are compressed: by its mount, or by a property of its root.
    public func isCompressed() throws -> Bool {
        var value = [UInt8](repeating: 0, count: 64)
        let count = linux_fgetxattr(directory.number, "btrfs.compression", &value, value.count)
        if count > 0 {
            return !["no", "none"].contains(String(decoding: value.prefix(count), as: UTF8.self))
        }
        let info = try Descriptor(opening: "/proc/self/fdinfo/\(directory.number)", O_RDONLY).readAll(
            limit: 64 << 10)
        let id = String(decoding: info, as: UTF8.self).split(separator: "\n").first {
            $0.hasPrefix("mnt_id:")
        }
        .flatMap { Int($0.dropFirst(7).trimmingPrefix { $0.isWhitespace }) }
        return try Mount.all().contains { mount in
            mount.id == id
                && mount.options.contains { $0.hasPrefix("compress=") || $0.hasPrefix("compress-force=") }
        }
    }

    /// What `btrfs send` is to be told: where data are compressed, and this kernel and that program can, to send them so.
    public func sendOptions() throws -> [String] {
        guard try isCompressed(),
            let version = try? Descriptor(opening: "/sys/fs/btrfs/features/send_stream_version", O_RDONLY)
                .readAll(limit: 64),
            let kernel = Int(String(decoding: version, as: UTF8.self).prefix { $0.isNumber }), kernel >= 2,
            let program = try Int(btrfsProgsVersion().prefix { $0.isNumber }), program >= 6
        else { return [] }
        return ["--proto", "2", "--compressed-data"]
    }
}
