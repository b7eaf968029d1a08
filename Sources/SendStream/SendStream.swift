import Plumbing

/// Walks a `btrfs send` stream of one subvolume as it flows by: who it is, and whether it is whole.
///
/// Protocol versions 1 to 3, which share their framing (the kernel's `fs/btrfs/send.h`):
///
/// ```
/// "btrfs-stream\0" | u32 version | commands: u32 length, u16 number, u32 CRC-32C, payload of that length
/// ```
///
/// all little-endian. Payloads are skipped by arithmetic. Only the few commands that it reads are held, and their
/// checksum verified: the first, UPDATE_EXTENT and END. Memory stays below `heldLimit` and some.
public struct SendStream {
    static let magic = Array("btrfs-stream\0".utf8)
    private static let prefixLength = magic.count + 4
    private static let headerLength = 10
    /// The longest payload taken for a real one. The kernel's buffer holds 64 KiB in version 1 and 144 KiB from 2 on
    /// (192 KiB where pages have 64 KiB); anything near 1 MiB is no command.
    static let payloadLimit = 1 << 20
    /// The longest payload that is held. Those commands carry a path (at most 4 KiB) and a few numbers.
    static let heldLimit = 16 << 10

    private enum Awaited {
        case prefix
        case header
        case payload(Command)
        case nothing
    }

    private let place: String
    private var awaited = Awaited.prefix
    /// The bytes of what is awaited, as far as they are here.
    private var held: [UInt8] = []
    private var wanted = SendStream.prefixLength
    private var skip = 0
    /// All bytes seen.
    private var offset: UInt64 = 0
    /// Where the current prefix or command starts.
    private var start: UInt64 = 0
    private var lastCommand: UInt16 = 0
    private var subvolume: Subvolume?
    private var extentBytes: UInt64 = 0
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
        self.place = place
        self.extent = extent
        held.reserveCapacity(SendStream.headerLength + SendStream.heldLimit)
    }

    /// Whether a stream that starts with these bytes is a btrfs send stream; nil as long as they are too few to tell.
    /// Thirteen bytes always suffice.
    public static func recognises(_ prefix: some Collection<UInt8>) -> Bool? {
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
            if case .nothing = awaited {
                throw refuse(
                    "bytes behind the END command of the btrfs stream",
                    hint: "send one subvolume only, and nothing behind it")
            }
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
        guard case .nothing = awaited, let subvolume else {
            let hint = "the sender may have failed; see its message"
            throw offset == 0
                ? Failure(.badData, "no btrfs stream: the input is empty", at: place, hint: hint)
                : refuse("the btrfs stream is cut: it has no END command", at: offset, hint: hint)
        }
        return Summary(
            uuid: subvolume.uuid, parentUUID: subvolume.parentUUID, bytes: offset, extentBytes: extentBytes)
    }
}

// MARK: - Commands

extension SendStream {
    private enum Command: UInt16 {
        case subvolume = 1
        case snapshot = 2
        case end = 21
        case updateExtent = 22
    }

    private enum Attribute {
        static let uuid: UInt16 = 1
        static let size: UInt16 = 4
        static let path: UInt16 = 15
        static let fileOffset: UInt16 = 18
        static let cloneUUID: UInt16 = 20
    }

    private struct Subvolume {
        let uuid: String
        let parentUUID: String?
    }

    /// `held` has all that was wanted.
    private mutating func take() throws {
        switch awaited {
        case .prefix: try takePrefix()
        case .header: try takeHeader()
        case .payload(let command): try takeCommand(command)
        case .nothing: break
        }
    }

    private mutating func takePrefix() throws {
        guard held.starts(with: SendStream.magic) else { throw refuse("no btrfs stream") }
        let version: UInt32 = little(at: SendStream.magic.count)
        // The greatest command of each version.
        switch version {
        case 1: lastCommand = 22
        case 2: lastCommand = 25
        case 3: lastCommand = 26
        default:
            throw refuse(
                "version \(version) of the btrfs send protocol is unknown",
                hint: "btrfs send --proto 1 or 2 makes a stream that this version reads")
        }
        expect(.header)
    }

    private mutating func takeHeader() throws {
        let length = Int(little(at: 0) as UInt32)
        let number: UInt16 = little(at: 4)
        guard (1...lastCommand).contains(number) else {
            throw refuse("command \(number) is unknown: the btrfs stream is damaged")
        }
        guard length <= SendStream.payloadLimit else {
            throw refuse("a command of \(length) bytes: the btrfs stream is damaged")
        }
        let command = Command(rawValue: number)
        switch (command, subvolume) {
        case (.subvolume, nil), (.snapshot, nil): break
        case (_, nil):
            throw refuse("the btrfs stream starts with command \(number), which names no subvolume")
        case (.subvolume, _), (.snapshot, _):
            throw refuse("two subvolumes in one btrfs stream", hint: "send each one by itself")
        default: break
        }
        guard let command else {
            expect(.header)
            skip = length
            return
        }
        guard length <= (command == .end ? 0 : SendStream.heldLimit) else {
            throw refuse("command \(number) with \(length) bytes: the btrfs stream is damaged")
        }
        awaited = .payload(command)
        wanted = SendStream.headerLength + length
        if length == 0 { try takeCommand(command) }
    }

    private mutating func takeCommand(_ command: Command) throws {
        try verifyChecksum()
        switch command {
        case .subvolume:
            subvolume = Subvolume(uuid: try uuid(Attribute.uuid), parentUUID: nil)
        case .snapshot:
            subvolume = Subvolume(
                uuid: try uuid(Attribute.uuid), parentUUID: try uuid(Attribute.cloneUUID))
        case .updateExtent:
            let length: UInt64 = little(at: try attribute(Attribute.size, length: 8).lowerBound)
            let (sum, overflow) = extentBytes.addingReportingOverflow(length)
            guard !overflow else { throw refuse("extents beyond 64 bits: the btrfs stream is damaged") }
            extentBytes = sum
            try extent(
                Extent(
                    path: Array(held[try attribute(Attribute.path, length: nil)]),
                    offset: little(at: try attribute(Attribute.fileOffset, length: 8).lowerBound),
                    length: length))
        case .end:
            expect(.nothing)
            return
        }
        expect(.header)
    }

    private mutating func expect(_ next: Awaited) {
        awaited = next
        held.removeAll(keepingCapacity: true)
        wanted = SendStream.headerLength
    }

    /// The kernel reckons it over the whole command with zeros in the checksum's place.
    private func verifyChecksum() throws {
        var crc = CRC32C()
        crc.update(held[..<6])
        crc.update([0, 0, 0, 0])
        crc.update(held[SendStream.headerLength...])
        guard crc.value == little(at: 6) else {
            throw refuse("a command with a wrong checksum: the btrfs stream is damaged")
        }
    }

    private func uuid(_ type: UInt16) throws -> String {
        held[try attribute(type, length: 16)].uuid
    }

    /// Finds the value of an attribute in the held command: u16 type, u16 length, value, and again.
    private func attribute(_ type: UInt16, length: Int?) throws -> Range<Int> {
        var position = SendStream.headerLength
        while held.count - position >= 4 {
            let value = position + 4..<position + 4 + Int(little(at: position + 2) as UInt16)
            guard value.upperBound <= held.count else { break }
            if little(at: position) as UInt16 == type {
                guard length == nil || value.count == length else { break }
                return value
            }
            position = value.upperBound
        }
        throw refuse("a command without its attribute \(type): the btrfs stream is damaged")
    }

    /// The caller has seen to it that the bytes are held.
    private func little<Value: FixedWidthInteger>(at index: Int) -> Value {
        held.withUnsafeBytes {
            Value(littleEndian: $0.loadUnaligned(fromByteOffset: index, as: Value.self))
        }
    }

    private func refuse(_ what: String, at offset: UInt64? = nil, hint: String? = nil) -> Failure {
        Failure(.badData, what, at: "\(place), byte \(offset ?? start)", hint: hint)
    }
}
