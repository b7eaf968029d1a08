import CLinux
import Glibc
import Plumbing

/// Counts how much of the content that a send stream carries is holes in the snapshot: an incremental one fills those of a
/// file that has a new hole, in protocol 1 and 2 alike.
///
/// A file that the stream does not name as the snapshot does (one that is moved later in the stream) is left out.
public final class Holes {
    /// Bytes of holes, of all files and of the one with the most.
    public private(set) var bytes: UInt64 = 0
    public private(set) var most: (path: String, bytes: UInt64)?

    private let root: Descriptor
    private var path: [UInt8]?
    private var file: Int32 = -1
    private var inFile: UInt64 = 0

    public init(in snapshot: consuming Subvolume) {
        root = snapshot.directory
    }

    deinit {
        if file >= 0 { close(file) }
    }

    /// Takes the next extent of the stream, which names those of one file in a row.
    public func add(_ path: [UInt8], at offset: UInt64, length: UInt64) {
        if path != self.path {
            if file >= 0 { close(file) }
            self.path = path
            file = open(path)
            inFile = 0
        }
        guard file >= 0, let start = off_t(exactly: offset),
            case (let end, let overflow) = start.addingReportingOverflow(off_t(clamping: length)), !overflow
        else { return }
        var (position, holes) = (start, UInt64(0))
        while position < end {
            var data = lseek(file, position, linux_SEEK_DATA)
            if data < 0 {
                // Not one byte of data from there on.
                guard errno == ENXIO else { return }
                data = end
            }
            holes += UInt64(min(data, end) - position)
            guard data < end else { break }
            position = lseek(file, data, linux_SEEK_HOLE)
            guard position > data else { return }
        }
        bytes &+= holes
        inFile &+= holes
        if inFile > most?.bytes ?? 0 { most = (printable(path), inFile) }
    }

    /// A regular file of the snapshot, no link followed; -1 where there is none.
    private func open(_ path: [UInt8]) -> Int32 {
        let names = path.split(separator: UInt8(ascii: "/")).map { Array($0) + [0] }
        guard let last = names.last else { return -1 }
        var folder = Descriptor(borrowing: root)
        func call<Result>(_ name: [UInt8], _ body: (UnsafePointer<CChar>) -> Result) -> Result {
            name.withUnsafeBytes { body($0.bindMemory(to: CChar.self).baseAddress!) }
        }
        for name in names.dropLast() {
            let parent = folder.number
            let number = call(name) {
                openat(parent, $0, linux_O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
            }
            guard number >= 0 else { return -1 }
            folder = Descriptor(owning: number, name: "")
        }
        let parent = folder.number
        var status = stat()
        guard call(last, { fstatat(parent, $0, &status, AT_SYMLINK_NOFOLLOW) }) == 0,
            status.st_mode & S_IFMT == S_IFREG
        else { return -1 }
        return call(last) { openat(parent, $0, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) }
    }
}
