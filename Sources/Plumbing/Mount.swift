public import Glibc

/// One line of /proc/self/mountinfo, proc_pid_mountinfo(5).
public struct Mount: Equatable, Sendable {
    public let id: Int
    public let device: dev_t
    /// What of the file system is mounted: "/" is all of it.
    public let root: String
    public let point: String
    public let type: String
    public let isReadOnly: Bool
    /// Those of the file system.
    public let options: [String]

    /// All that this process sees mounted, a later one over an earlier.
    public static func all() throws -> [Mount] {
        let bytes = try Descriptor(opening: "/proc/self/mountinfo", O_RDONLY).readAll(limit: 16 << 20)
        return bytes.split(separator: UInt8(ascii: "\n")).compactMap {
            Mount(parsing: String(decoding: $0, as: UTF8.self))
        }
    }

    public init?(parsing line: String) {
        let fields = line.split(separator: " ", omittingEmptySubsequences: false)
        guard let dash = fields.firstIndex(of: "-"), dash >= 6, fields.count >= dash + 4,
            let id = Int(fields[0])
        else { return nil }
        let numbers = fields[2].split(separator: ":").compactMap { UInt32($0) }
        guard numbers.count == 2 else { return nil }
        self.id = id
        device = makedev(numbers[0], numbers[1])
        root = Mount.unescape(fields[3])
        point = Mount.unescape(fields[4])
        type = Mount.unescape(fields[dash + 1])
        options = fields[dash + 3].split(separator: ",").map(String.init)
        isReadOnly = [fields[5], fields[dash + 3]].contains { $0.split(separator: ",").contains("ro") }
    }

    private static func unescape(_ field: Substring) -> String {
        String(decoding: octalsUnescaped(field.utf8), as: UTF8.self)
    }
}

/// The two numbers of a device, as sysfs writes them.
public func deviceNumbers(_ device: dev_t) -> String {
    "\((device >> 8 & 0xfff) | (device >> 32 & ~0xfff)):\((device & 0xff) | (device >> 12 & 0xfff00))"
}

/// linux/kdev_t.h's way to make one number of two, as mountinfo and stat(2) tell them; the macro is no function.
private func makedev(_ major: UInt32, _ minor: UInt32) -> dev_t {
    let (major, minor) = (dev_t(major), dev_t(minor))
    return (major & 0xfff) << 8 | (major & ~0xfff) << 32 | (minor & 0xff) | (minor & ~0xff) << 12
}
