import Glibc
import Plumbing
import SendStream

/// A path out of a stream, from the subvolume's root on, whose names have been checked. It is empty for the root itself.
///
/// It lies in room that another holds, and a zero follows.
struct Path {
    private let room: UnsafeMutablePointer<UInt8>
    private let count: Int
    /// Where the last slash is; nil where there is none.
    private let slash: Int?

    /// What it takes to hold one.
    static let room = Int(PATH_MAX)

    /// - Throws: `badData` where it is empty but must not be, too long, or holds a name that is none: empty, `.`, `..`,
    ///   above 255 bytes or with a zero byte.
    init(
        _ attribute: Attribute, of frame: Frame, in room: UnsafeMutablePointer<UInt8>, orRoot: Bool = false
    ) throws {
        let value = try frame.bytes(attribute)
        guard value.count < Path.room else { throw frame.refuse("a path of \(value.count) bytes") }
        var slash: Int?
        var start = 0
        for index in 0...value.count {
            let byte = index < value.count ? value[index] : 0
            guard byte == UInt8(ascii: "/") || index == value.count else {
                room[index] = byte
                guard byte != 0 else { throw frame.refuse("a path with a zero byte") }
                continue
            }
            room[index] = byte
            let count = index - start
            let isDots =
                (1...2).contains(count) && (start..<index).allSatisfy { value[$0] == UInt8(ascii: ".") }
            guard (1...Int(NAME_MAX)).contains(count) && !isDots || value.isEmpty && orRoot else {
                throw frame.refuse("a path that leads out of the subvolume: \(printable(value.prefix(300)))")
            }
            if index < value.count { slash = index }
            start = index + 1
        }
        if value.isEmpty {
            room[0] = UInt8(ascii: ".")
            room[1] = 0
        }
        self.room = room
        self.count = value.count
        self.slash = slash
    }

    var bytes: UnsafeRawBufferPointer { .init(start: room, count: count) }

    /// The folder that it is in; empty for the root.
    var folder: UnsafeRawBufferPointer { .init(start: room, count: slash ?? 0) }

    /// What it is called in its folder; the root is `.` in itself.
    var name: UnsafePointer<CChar> {
        UnsafeRawPointer(room + (slash.map { $0 + 1 } ?? 0)).assumingMemoryBound(to: CChar.self)
    }

    /// Calls with the folder's path, zero at its end.
    func withFolder<Result>(_ body: (UnsafePointer<CChar>) -> Result) -> Result {
        guard let slash else { return body(".") }
        room[slash] = 0
        defer { room[slash] = UInt8(ascii: "/") }
        return body(UnsafeRawPointer(room).assumingMemoryBound(to: CChar.self))
    }

    var shown: String { bytes.isEmpty ? "." : printable(bytes) }
}

/// A path that is kept for longer than a command.
struct KeptPath {
    private(set) var bytes: [UInt8] = []

    mutating func keep(_ path: some Collection<UInt8>) {
        bytes.removeAll(keepingCapacity: true)
        bytes.append(contentsOf: path)
    }

    /// Whether it is that path, which is not the root's.
    func isSame(as other: UnsafeRawBufferPointer) -> Bool {
        guard bytes.count == other.count, let base = other.baseAddress else { return false }
        return memcmp(bytes, base, other.count) == 0
    }

    /// Whether it is that path, or one below.
    func lies(at other: UnsafeRawBufferPointer) -> Bool {
        bytes.count >= other.count && bytes.starts(with: other)
            && (bytes.count == other.count || bytes[other.count] == UInt8(ascii: "/"))
    }
}
