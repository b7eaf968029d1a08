public import Envelope
import Plumbing

/// How a whole object is recognised without its key: the header of its kind in front, a trailer at the end that tells the
/// length that is there. This one follows a stream that passes by; the functions below look at what is there already.
public struct Framing {
    private let kind: Envelope.Kind
    private let place: String
    /// In bytes, of what has passed by.
    public private(set) var length: UInt64 = 0
    private var tail: [UInt8] = []

    /// - Parameter place: what messages call the stream.
    public init(_ kind: Envelope.Kind, at place: String) {
        self.kind = kind
        self.place = place
    }

    /// Adds the next bytes. The first call needs the whole header, or all of a shorter stream.
    ///
    /// - Throws: `badData` where it does not start as a sealed stream of this kind.
    public mutating func add(_ bytes: UnsafeRawBufferPointer) throws {
        if length == 0 {
            try Framing.check(head: Array(bytes.prefix(Envelope.headerLength)), kind, at: place)
        }
        length += UInt64(bytes.count)
        tail = Array((tail + bytes.suffix(Envelope.trailerLength)).suffix(Envelope.trailerLength))
    }

    /// - Throws: `badData` where the bytes so far are no whole sealed stream.
    public func finish() throws {
        try Envelope.check(tail: tail, length: length, at: place)
    }
}

extension Framing {
    /// Checks the first bytes of a stream: its header, or all of a shorter one.
    ///
    /// - Throws: `badData` where it does not start as a sealed stream of this kind.
    public static func check(head: [UInt8], _ kind: Envelope.Kind, at place: String) throws {
        try Envelope.Header(parsing: head, at: place).require(kind, at: place)
    }

    /// Checks a whole sealed stream in memory.
    ///
    /// - Throws: `badData` where it is none of this kind.
    public static func check(_ bytes: [UInt8], _ kind: Envelope.Kind, at place: String) throws {
        try check(UInt64(bytes.count), kind, at: place) { offset, count in
            Array(bytes[Int(offset)...].prefix(count))
        }
    }

    /// Checks an object of `length` bytes of which any may be read: two reads, however long it is.
    ///
    /// - Parameter read: gives so many bytes from an offset on, or those that there are.
    /// - Throws: `badData` where it is no whole sealed stream of this kind; what `read` throws.
    public static func check(
        _ length: UInt64, _ kind: Envelope.Kind, at place: String,
        _ read: (_ offset: UInt64, _ count: Int) throws -> [UInt8]
    ) throws {
        try check(head: read(0, min(Envelope.headerLength, Int(clamping: length))), kind, at: place)
        let tail = min(Envelope.trailerLength, Int(clamping: length))
        try Envelope.check(tail: read(length - UInt64(tail), tail), length: length, at: place)
    }
}
