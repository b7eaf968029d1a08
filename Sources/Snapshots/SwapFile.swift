import Glibc
import Plumbing

extension Subvolume {
    /// The swap file that is in use in this subvolume; nil where none is, or where that cannot be told.
    var swapFileInUse: String? {
        guard let device = try? directory.status().st_dev,
            let table = try? Descriptor(opening: "/proc/swaps", O_RDONLY).readAll(limit: 1 << 20)
        else { return nil }
        for line in table.split(separator: UInt8(ascii: "\n")).dropFirst() {
            let path = octalsUnescaped(line.prefix { $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\t") })
            var status = stat()
            if lstat(path.map { CChar(bitPattern: $0) } + [0], &status) == 0, status.st_dev == device,
                status.st_mode & S_IFMT == S_IFREG
            {
                return printable(path)
            }
        }
        return nil
    }
}
