import Plumbing

/// Walks a `btrfs send` stream of one subvolume as it flows by: who it is, and whether it is whole.
///
/// Protocol versions 1 to 3, see `Framing`. Payloads are skipped by arithmetic. Only the few commands that it reads are
/// held, and their checksum verified: the first, UPDATE_EXTENT and END. Memory stays below `heldLimit` and some.
public struct SendStream {
    /// The longest payload that is held. Those commands carry a path (at most 4 KiB) and a few numbers.
    static let heldLimit = 16 << 10
    /// As much of an ENCODED_WRITE: what is in front of its data, as the kernel writes them.
    private static let encodedLimit = 4 << 10 + 256

    private enum Awaited {
        case prefix
        case header
        case payload(Command)
        /// Of an ENCODED_WRITE, the start of a payload of that length.
        case encoded(Int)
        case nothing
    }

    private var rules: Rules
    private var awaited = Awaited.prefix
    /// The bytes of what is awaited, as far as they are here.
    private var held: [UInt8] = []
    private var wanted = Framing.prefixLength
    private var skip = 0
    /// All bytes seen.
    private var offset: UInt64 = 0
    /// Where the current prefix or command starts.
    private var start: UInt64 = 0
    private var subvolume: Subvolume?
    private var extentBytes: UInt64 = 0
    /// What the compressed data so far stand for, beyond what they take in the stream. It serves progress and is not checked.
    public private(set) var spared: UInt64 = 0
    private let extent: (Extent) throws -> Void

    /// A piece of a file that a stream made with `--no-data` names in place of its content.
    public struct Extent {
        /// Below the subvolume, as the stream calls the file at that point.
        public let path: [UInt8]
        public let offset: UInt64
        public let length: UInt64
    }

    /// - Parameters:
    ///   - place: what messages call the stream.
    ///   - extent: called with each extent of a stream made with `--no-data`.
    public init(at place: String, extent: @escaping (Extent) throws -> Void = { _ in }) {
        rules = Rules(at: place)
        self.extent = extent
        held.reserveCapacity(Framing.headerLength + SendStream.heldLimit)
    }

    /// Whether a stream that starts with these bytes is a btrfs send stream; nil as long as they are too few to tell.
    /// Thirteen bytes always suffice.
    public static func recognises(_ prefix: some Collection<UInt8>) -> Bool? {
        let magic = Framing.magic
        guard prefix.prefix(magic.count).elementsEqual(magic.prefix(prefix.count)) else { return false }
        return prefix.count >= magic.count ? true : nil
    }

    /// Takes the next bytes of the stream, any number of them.
    ///
    /// - Throws: `badData` with the byte offset: another version, a nonsense or damaged command, a second subvolume,
    ///   bytes behind END. The walker is of no use afterwards.
    public mutating func walk(_ bytes: UnsafeRawBufferPointer) throws {
        var position = 0
        while position < bytes.count {
            if skip > 0 {
                let count = min(skip, bytes.count - position)
                skip -= count
                position += count
                offset += UInt64(count)
                continue
            }
            if held.isEmpty { start = offset }
            if case .nothing = awaited { throw rules.goesOn(at: offset) }
            let count = min(wanted - held.count, bytes.count - position)
            held.append(contentsOf: bytes[position..<position + count])
            position += count
            offset += UInt64(count)
            if held.count == wanted { try take() }
        }
    }

    /// Ends the walk.
    ///
    /// - Throws: `badData` with the byte offset: the stream is cut.
    public func finish() throws -> Summary {
        guard case .nothing = awaited, let subvolume else { throw rules.cut(at: offset) }
        return Summary(
            uuid: subvolume.uuid, parentUUID: subvolume.parentUUID, version: rules.version, bytes: offset,
            extentBytes: extentBytes)
    }
}

// MARK: - Commands

extension SendStream {
    private struct Subvolume {
        let uuid: String
        let parentUUID: String?
    }

    /// `held` has all that was wanted.
    private mutating func take() throws {
        switch awaited {
        case .prefix:
            try held.withUnsafeBytes { try rules.take(prefix: $0) }
            expect(.header)
        case .header: try takeHeader()
        case .payload(let command): try takeCommand(command)
        case .encoded(let length): takeEncoded(length)
        case .nothing: break
        }
    }

    private mutating func takeHeader() throws {
        let (command, length) = try held.withUnsafeBytes { try rules.take(header: $0, at: start) }
        switch command {
        case .subvolume, .snapshot, .updateExtent, .end:
            guard length <= SendStream.heldLimit else {
                throw rules.refuse(
                    "invalid length of command \(command.rawValue), \(length) bytes: the btrfs stream is damaged",
                    at: start
                )
            }
            awaited = .payload(command)
            wanted = Framing.headerLength + length
            if length == 0 { try takeCommand(command) }
        case .writeEncoded where length > 0:
            awaited = .encoded(length)
            wanted = Framing.headerLength + min(length, SendStream.encodedLimit)
        default:
            expect(.header)
            skip = length
        }
    }

    private mutating func takeEncoded(_ length: Int) {
        let missing = Framing.headerLength + length - held.count
        held.withUnsafeBytes { bytes in
            let frame = Frame(
                command: .writeEncoded, version: rules.version, bytes: bytes, place: rules.place, start: start
            )
            guard let data = try? frame.bytes(.data),
                let whole: UInt64 = try? frame.number(.unencodedFileLength),
                // The kernel compresses 128 KiB at a time.
                (UInt64(data.count + missing)...(1 << 20)).contains(whole)
            else { return }
            spared &+= whole - UInt64(data.count + missing)
        }
        expect(.header)
        skip = missing
    }

    private mutating func takeCommand(_ command: Command) throws {
        try held.withUnsafeBytes { bytes in
            let frame = Frame(
                command: command, version: rules.version, bytes: bytes, place: rules.place, start: start)
            try frame.verifyChecksum()
            switch command {
            case .subvolume:
                subvolume = Subvolume(uuid: try frame.uuid(.uuid).uuid, parentUUID: nil)
            case .snapshot:
                subvolume = Subvolume(
                    uuid: try frame.uuid(.uuid).uuid, parentUUID: try frame.uuid(.cloneUUID).uuid)
            case .updateExtent:
                let length: UInt64 = try frame.number(.size)
                let (sum, overflow) = extentBytes.addingReportingOverflow(length)
                guard !overflow else {
                    throw frame.refuse("extents exceed 64 bits: the btrfs stream is damaged")
                }
                extentBytes = sum
                try extent(
                    Extent(
                        path: Array(try frame.bytes(.path)), offset: try frame.number(.offset), length: length
                    ))
            default: break
            }
        }
        expect(command == .end ? .nothing : .header)
    }

    private mutating func expect(_ next: Awaited) {
        awaited = next
        held.removeAll(keepingCapacity: true)
        wanted = Framing.headerLength
    }
}
