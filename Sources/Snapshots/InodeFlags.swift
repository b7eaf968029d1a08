import CLinux
import Glibc
public import Plumbing

/// The inode flags that `btrfs send` does not carry and that chattr(1) sets: no copy-on-write, immutable, append-only.
public struct InodeFlags: OptionSet, Hashable, Sendable {
    /// As FS_IOC_GETFLAGS has them (linux/fs.h).
    public let rawValue: Int32

    public init(rawValue: Int32) { self.rawValue = rawValue }

    public static let noCopyOnWrite = InodeFlags(rawValue: linux_FLAG_NOCOW)
    public static let immutable = InodeFlags(rawValue: linux_FLAG_IMMUTABLE)
    public static let appendOnly = InodeFlags(rawValue: linux_FLAG_APPEND)
    /// Those that keep an inode from being changed.
    public static let protecting: InodeFlags = [.immutable, .appendOnly]
    public static let all: InodeFlags = [.noCopyOnWrite, .immutable, .appendOnly]

    private static let letters: [(InodeFlags, UInt8)] = [
        (.noCopyOnWrite, UInt8(ascii: "C")), (.immutable, UInt8(ascii: "i")),
        (.appendOnly, UInt8(ascii: "a")),
    ]

    /// The letters of chattr(1), in one order.
    var letters: [UInt8] { InodeFlags.letters.compactMap { contains($0.0) ? $0.1 : nil } }

    /// Nil for anything but such letters.
    init?(letters: some Collection<UInt8>) {
        self = []
        for letter in letters {
            guard let known = InodeFlags.letters.first(where: { $0.1 == letter }) else { return nil }
            insert(known.0)
        }
        guard !isEmpty else { return nil }
    }

    /// Those of an open file or folder; none where its file system has no such thing.
    public init(of file: borrowing Descriptor) throws {
        self = .all.intersection(.init(rawValue: try InodeFlags.everything(of: file)))
    }

    /// Sets these and no other of the three; whatever else is set stays.
    func set(on file: borrowing Descriptor) throws {
        let others = InodeFlags(rawValue: try InodeFlags.everything(of: file)).subtracting(.all)
        guard linux_set_flags(file.number, others.union(self).rawValue) == 0 else {
            throw Failure.system("cannot set the inode flags", at: file.name)
        }
    }

    private static func everything(of file: borrowing Descriptor) throws -> Int32 {
        var flags: Int32 = 0
        guard linux_get_flags(file.number, &flags) == 0 else {
            guard [ENOTTY, ENOTSUP, ENOSYS].contains(errno) else {
                throw Failure.system("cannot read the inode flags", at: file.name)
            }
            return 0
        }
        return flags
    }
}
