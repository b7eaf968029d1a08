import Plumbing

/// Reads a send stream of one subvolume, command by command, each with its checksum and its attributes verified.
///
/// What it refuses of the framing the walker `SendStream` refuses alike. Memory is one buffer.
public struct CommandReader: ~Copyable {
    private var rules: Rules
    private let buffer = UnsafeMutableRawBufferPointer.allocate(
        byteCount: 2 * (Framing.payloadLimit + Framing.headerLength), alignment: 4096)
    /// What of the buffer has been read and not been taken.
    private var rest = 0..<0
    /// Where in the stream `rest` starts.
    private var offset: UInt64 = 0
    private var isAtEnd = false

    /// - Parameter place: what messages call the stream.
    public init(at place: String) {
        rules = Rules(at: place)
    }

    deinit { buffer.deallocate() }

    /// The next command. It lies in the reader's memory until the next call. The last one is END, with which the
    /// source has ended, too.
    ///
    /// - Parameter read: reads once from the source into the buffer; 0 at its end.
    /// - Throws: `badData` with the byte offset: what is no stream of one subvolume, damaged, cut, or goes on behind END.
    public mutating func next(_ read: (UnsafeMutableRawBufferPointer) throws -> Int) throws -> Frame {
        precondition(!isAtEnd)
        if offset == 0 {
            guard try fill(Framing.prefixLength, read) else {
                let there = UnsafeRawBufferPointer(rebasing: buffer[rest])
                guard Framing.magic.starts(with: there.prefix(Framing.magic.count)) else {
                    throw rules.refuse("not a btrfs stream", at: 0)
                }
                throw rules.cut(at: UInt64(rest.count))
            }
            try rules.take(prefix: taken(Framing.prefixLength))
        }
        guard try fill(Framing.headerLength, read) else { throw rules.cut(at: offset + UInt64(rest.count)) }
        let start = offset
        let (command, length) = try rules.take(header: .init(rebasing: buffer[rest]), at: start)
        guard try fill(Framing.headerLength + length, read) else {
            throw rules.cut(at: offset + UInt64(rest.count))
        }
        let frame = Frame(
            command: command, version: rules.version, bytes: taken(Framing.headerLength + length),
            place: rules.place, start: start)
        try frame.verifyChecksum()
        try frame.verifyAttributes()
        if command == .end {
            guard try !fill(1, read) else { throw rules.goesOn(at: offset) }
            isAtEnd = true
        }
        return frame
    }

    private mutating func taken(_ count: Int) -> UnsafeRawBufferPointer {
        let bytes = UnsafeRawBufferPointer(rebasing: buffer[rest.prefix(count)])
        rest = rest.lowerBound + count..<rest.upperBound
        offset += UInt64(count)
        return bytes
    }

    /// Reads until `count` bytes are there; false where the source ends before.
    private mutating func fill(_ count: Int, _ read: (UnsafeMutableRawBufferPointer) throws -> Int) throws
        -> Bool
    {
        while rest.count < count {
            if buffer.count - rest.lowerBound < count {
                // What moves is less than one command.
                UnsafeMutableRawBufferPointer(rebasing: buffer[..<rest.count])
                    .copyMemory(from: .init(rebasing: buffer[rest]))
                rest = 0..<rest.count
            }
            let fresh = try read(.init(rebasing: buffer[rest.upperBound...]))
            if fresh == 0 { return false }
            rest = rest.lowerBound..<rest.upperBound + fresh
        }
        return true
    }
}
