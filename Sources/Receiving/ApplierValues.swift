import Glibc
import Plumbing
import SendStream

/// The values of a command's attributes; one that is out of range is refused.
extension Applier {
    func path(_ frame: Frame, orRoot: Bool = false) throws -> Path {
        try Path(.path, of: frame, in: room, orRoot: orRoot)
    }

    /// A text that is no path of the tree, with a zero at its end. It stays until the next one is asked for.
    func string(_ attribute: Attribute, _ frame: Frame) throws -> UnsafePointer<CChar> {
        let value = try frame.bytes(attribute)
        guard (1..<Path.room).contains(value.count), !value.contains(0) else {
            throw frame.refuse("an invalid string of \(value.count) bytes")
        }
        UnsafeMutableRawPointer(text).copyMemory(from: value.baseAddress!, byteCount: value.count)
        text[value.count] = 0
        return UnsafePointer(text)
    }

    func length(_ attribute: Attribute, _ frame: Frame) throws -> off_t {
        guard let value = off_t(exactly: try frame.number(attribute) as UInt64) else {
            throw frame.refuse("a length beyond 63 bits")
        }
        return value
    }

    func range(_ attribute: Attribute, _ length: UInt64, _ frame: Frame) throws -> (off_t, off_t) {
        let start: UInt64 = try frame.number(attribute)
        let (end, overflow) = start.addingReportingOverflow(length)
        guard !overflow, end <= UInt64(off_t.max) else { throw frame.refuse("an offset beyond 63 bits") }
        return (off_t(start), off_t(length))
    }

    func time(_ attribute: Attribute, _ frame: Frame) throws -> timespec {
        let (seconds, nanoseconds) = try frame.time(attribute)
        return timespec(tv_sec: Int(seconds), tv_nsec: Int(nanoseconds))
    }
}
