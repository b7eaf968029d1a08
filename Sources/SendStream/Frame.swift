public import Plumbing

/// The commands of a send stream, by their numbers in the kernel's `fs/btrfs/send.h`.
public enum Command: UInt16, Sendable, CaseIterable {
    case subvolume = 1
    case snapshot = 2
    case makeFile = 3
    case makeFolder = 4
    case makeDevice = 5
    case makePipe = 6
    case makeSocket = 7
    case makeLink = 8
    case rename = 9
    case link = 10
    case unlink = 11
    case removeFolder = 12
    case setAttribute = 13
    case removeAttribute = 14
    case write = 15
    case clone = 16
    case truncate = 17
    case changeMode = 18
    case changeOwner = 19
    case setTimes = 20
    case end = 21
    case updateExtent = 22
    // From version 2 on.
    case allocate = 23
    case setFlags = 24
    case writeEncoded = 25
    // From version 3 on.
    case enableVerity = 26

    /// The last one of a version; nil where the version is unknown.
    static func last(of version: UInt32) -> Command? {
        switch version {
        case 1: .updateExtent
        case 2: .writeEncoded
        case 3: .enableVerity
        default: nil
        }
    }
}

/// What commands carry.
public enum Attribute: UInt16, Sendable {
    case uuid = 1
    case transaction = 2
    case size = 4
    case mode = 5
    case owner = 6
    case group = 7
    case device = 8
    case changed = 9
    case modified = 10
    case accessed = 11
    case attributeName = 13
    case attributeValue = 14
    case path = 15
    case pathTo = 16
    case target = 17
    case offset = 18
    case data = 19
    case cloneUUID = 20
    case cloneTransaction = 21
    case clonePath = 22
    case cloneOffset = 23
    case cloneLength = 24
    case allocationMode = 25
    case flags = 26
    case unencodedFileLength = 27
    case unencodedLength = 28
    case unencodedOffset = 29
    case compression = 30
    case encryption = 31

    /// The greatest number of version 3.
    static let last: UInt16 = 35
}

/// The framing that protocol versions 1 to 3 share:
///
/// ```
/// "btrfs-stream\0" | u32 version | commands: u32 length, u16 number, u32 CRC-32C, payload of that length
/// ```
///
/// all little-endian. A payload is attributes, each u16 number, u16 length, value. From version 2 on `data` has no
/// length: it is the last one and takes the rest.
enum Framing {
    static let magic = Array("btrfs-stream\0".utf8)
    static let prefixLength = magic.count + 4
    static let headerLength = 10
    /// The longest payload taken for a real one. The kernel's buffer holds 64 KiB in version 1 and 144 KiB from 2 on
    /// (192 KiB where pages have 64 KiB); anything near 1 MiB is no command.
    static let payloadLimit = 1 << 20
}

/// One command of a send stream, in memory that another holds. It is of use only for as long as that memory is.
public struct Frame {
    public let command: Command
    let version: UInt32
    /// Header and payload.
    let bytes: UnsafeRawBufferPointer
    let place: String
    /// Where it starts in the stream.
    public let start: UInt64

    /// The value of an attribute that the command must have.
    public func bytes(_ attribute: Attribute) throws -> UnsafeRawBufferPointer {
        guard let value = find(attribute) else { throw lacks(attribute) }
        return value
    }

    /// A number that the command must have, in the width that it is given in.
    public func number<Value: FixedWidthInteger>(_ attribute: Attribute, as _: Value.Type = Value.self) throws
        -> Value
    {
        let value = try bytes(attribute)
        guard value.count == MemoryLayout<Value>.size else { throw lacks(attribute) }
        return little(value, at: 0)
    }

    /// A number that stands for 0 where it is left out.
    public func numberOrZero(_ attribute: Attribute) throws -> UInt32 {
        find(attribute) == nil ? 0 : try number(attribute)
    }

    public func uuid(_ attribute: Attribute) throws -> UnsafeRawBufferPointer {
        let value = try bytes(attribute)
        guard value.count == 16 else { throw lacks(attribute) }
        return value
    }

    /// A time: seconds since 1970, and nanoseconds below 10⁹.
    public func time(_ attribute: Attribute) throws -> (seconds: Int64, nanoseconds: UInt32) {
        let value = try bytes(attribute)
        guard value.count == 12 else { throw lacks(attribute) }
        let nanoseconds: UInt32 = little(value, at: 8)
        guard nanoseconds < 1_000_000_000 else { throw refuse("invalid time: nanoseconds out of range") }
        return (little(value, at: 0), nanoseconds)
    }

    /// A failure that the stream is to blame for, with the place of this command in it.
    public func refuse(_ what: String, hint: String? = nil) -> Failure {
        Failure(.badData, what, at: "\(place), byte \(start)", hint: hint)
    }

    /// The kernel reckons it over the whole command with zeros in the checksum's place.
    func verifyChecksum() throws {
        var crc = CRC32C()
        crc.update(.init(rebasing: bytes[..<6]))
        withUnsafeBytes(of: UInt32(0)) { crc.update($0) }
        crc.update(.init(rebasing: bytes[Framing.headerLength...]))
        guard crc.value == little(bytes, at: 6) else {
            throw refuse("wrong checksum of a command: the btrfs stream is damaged")
        }
    }

    /// Sees to it that the payload is whole attributes, known ones, each once.
    func verifyAttributes() throws {
        var seen: UInt64 = 0
        var position = Framing.headerLength
        while position < bytes.count {
            guard let (number, value) = attribute(at: position), (1...Attribute.last).contains(number) else {
                throw refuse("invalid attribute: the btrfs stream is damaged")
            }
            guard seen >> UInt64(number) & 1 == 0 else {
                throw refuse("duplicate attribute \(number) in a command")
            }
            seen |= 1 << UInt64(number)
            position = value.upperBound
        }
    }

    private func find(_ wanted: Attribute) -> UnsafeRawBufferPointer? {
        var position = Framing.headerLength
        while let (number, value) = attribute(at: position) {
            if number == wanted.rawValue { return .init(rebasing: bytes[value]) }
            position = value.upperBound
        }
        return nil
    }

    private func attribute(at position: Int) -> (number: UInt16, value: Range<Int>)? {
        guard bytes.count - position >= 2 else { return nil }
        let number: UInt16 = little(bytes, at: position)
        if version >= 2, number == Attribute.data.rawValue { return (number, position + 2..<bytes.count) }
        guard bytes.count - position >= 4 else { return nil }
        let length = Int(little(bytes, at: position + 2) as UInt16)
        guard bytes.count - position - 4 >= length else { return nil }
        return (number, position + 4..<position + 4 + length)
    }

    private func lacks(_ attribute: Attribute) -> Failure {
        refuse("missing or invalid attribute \(attribute.rawValue) in a command: the btrfs stream is damaged")
    }
}

/// The caller has seen to it that the bytes are there.
func little<Value: FixedWidthInteger>(_ bytes: UnsafeRawBufferPointer, at index: Int) -> Value {
    Value(littleEndian: bytes.loadUnaligned(fromByteOffset: index, as: Value.self))
}

/// What the walker and the reader refuse alike.
struct Rules {
    let place: String
    private(set) var version: UInt32 = 0
    private var last = Command.end
    private var isNamed = false

    init(at place: String) { self.place = place }

    mutating func take(prefix: UnsafeRawBufferPointer) throws {
        guard prefix.starts(with: Framing.magic) else { throw refuse("not a btrfs stream", at: 0) }
        version = little(prefix, at: Framing.magic.count)
        guard let last = Command.last(of: version) else {
            throw refuse(
                "unknown version \(version) of the btrfs send protocol", at: 0,
                hint: "make the stream with btrfs send --proto 1 or 2")
        }
        self.last = last
    }

    /// Which command a header announces, and the length of its payload.
    mutating func take(header: UnsafeRawBufferPointer, at start: UInt64) throws -> (Command, length: Int) {
        let length = Int(little(header, at: 0) as UInt32)
        let number: UInt16 = little(header, at: 4)
        guard number <= last.rawValue, let command = Command(rawValue: number) else {
            throw refuse("unknown command \(number): the btrfs stream is damaged", at: start)
        }
        guard length <= (command == .end ? 0 : Framing.payloadLimit) else {
            throw refuse(
                "invalid length of command \(number), \(length) bytes: the btrfs stream is damaged", at: start
            )
        }
        let names = command == .subvolume || command == .snapshot
        guard isNamed || names else {
            throw refuse(
                "the btrfs stream starts with command \(number), which names no subvolume", at: start)
        }
        guard !isNamed || !names else {
            throw refuse("two subvolumes in one btrfs stream", at: start, hint: "send each one separately")
        }
        isNamed = true
        return (command, length)
    }

    func cut(at offset: UInt64) -> Failure {
        let hint = "the sender may have failed; see its message"
        return offset == 0
            ? Failure(.badData, "not a btrfs stream: the input is empty", at: place, hint: hint)
            : refuse("the btrfs stream is truncated: it has no END command", at: offset, hint: hint)
    }

    func goesOn(at offset: UInt64) -> Failure {
        refuse(
            "extra data after the END command of the btrfs stream", at: offset,
            hint: "send one subvolume only, and nothing after it")
    }

    func refuse(_ what: String, at offset: UInt64, hint: String? = nil) -> Failure {
        Failure(.badData, what, at: "\(place), byte \(offset)", hint: hint)
    }
}
