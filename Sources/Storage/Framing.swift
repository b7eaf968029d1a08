import Envelope
import Plumbing

/// Follows a sealed stream that passes by: its header, its length, the last bytes of it.
struct Framing {
    private let kind: Envelope.Kind
    private let place: String
    private(set) var length: UInt64 = 0
    private var tail: [UInt8] = []

    init(_ kind: Envelope.Kind, at place: String) {
        self.kind = kind
        self.place = place
    }

    /// Adds the next bytes. The first call needs the whole header, or all of a shorter stream.
    ///
    /// - Throws: `badData` where it does not start as a sealed stream of this kind.
    mutating func add(_ bytes: UnsafeRawBufferPointer) throws {
        if length == 0 {
            try Envelope.Header(parsing: Array(bytes.prefix(Envelope.headerLength)), at: place)
                .require(kind, at: place)
        }
        length += UInt64(bytes.count)
        tail = Array((tail + bytes.suffix(Envelope.trailerLength)).suffix(Envelope.trailerLength))
    }

    /// - Throws: `badData` where the bytes so far are no whole sealed stream.
    func finish() throws {
        try Envelope.check(tail: tail, length: length, at: place)
    }

    /// Checks a whole sealed stream in memory.
    static func check(_ bytes: [UInt8], _ kind: Envelope.Kind, at place: String) throws {
        var framing = Framing(kind, at: place)
        try bytes.withUnsafeBytes { try framing.add($0) }
        try framing.finish()
    }
}
