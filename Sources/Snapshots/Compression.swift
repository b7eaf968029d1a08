import CLinux
import Glibc
import Plumbing

/// The version of Linux that runs here.
public struct KernelRelease: Sendable {
    let major: Int
    let minor: Int

    public static var here: KernelRelease {
        var names = utsname()
        guard uname(&names) == 0 else { return .init("") }
        return .init(
            withUnsafeBytes(of: names.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) })
    }

    /// - Parameter release: such as `6.1.0-28-amd64`; what is no number counts as 0.
    init(_ release: String) {
        let numbers = release.split { !$0.isNumber }.map { Int($0) ?? 0 }
        major = numbers.first ?? 0
        minor = numbers.dropFirst().first ?? 0
    }

    /// BTRFS_IOC_ENCODED_WRITE.
    public var takesCompressedData: Bool { (major, minor) >= (5, 18) }
}

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
            try KernelRelease(btrfsProgsVersion()).major >= 6
        else { return [] }
        return ["--proto", "2", "--compressed-data"]
    }
}
