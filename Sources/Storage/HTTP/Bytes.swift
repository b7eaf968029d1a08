/// Bytes in memory as a body.
final class Bytes: Body {
    private let bytes: [UInt8]
    private var sent = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var length: Int? { bytes.count }

    func read(into buffer: UnsafeMutableRawBufferPointer) -> Int? {
        let rest = bytes[sent...].prefix(buffer.count)
        buffer.copyBytes(from: rest)
        sent += rest.count
        return rest.count
    }

    func rewind() -> Bool {
        sent = 0
        return true
    }

    func acknowledge(_ offset: UInt64) -> Bool { false }
}
