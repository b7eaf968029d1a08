/// Makes send streams with right checksums, command by command, from the kernel's format and not from the walker.
struct StreamBuilder {
    private(set) var bytes: [UInt8] = []
    private let version: UInt32
    /// Where the prefix and each command end.
    private(set) var ends: [Int] = []

    static let uuid = "00010203-0405-0607-0809-0a0b0c0d0e0f"
    static let parent = "f0f1f2f3-f4f5-f6f7-f8f9-fafbfcfdfeff"
    static let uuidBytes = (0..<16).map { UInt8($0) }
    static let parentBytes = (0..<16).map { UInt8(0xf0 + $0) }

    init(version: UInt32 = 1) {
        self.version = version
        bytes = Array("btrfs-stream".utf8) + [0] + little(version)
        ends = [bytes.count]
    }

    mutating func command(_ number: UInt16, _ payload: [UInt8] = []) {
        let length = little(UInt32(payload.count))
        let crc = checksum(length + little(number) + [0, 0, 0, 0] + payload)
        bytes += length + little(number) + little(crc) + payload
        ends.append(bytes.count)
    }

    /// A command with these attributes; from version 2 on, the data has no length.
    mutating func command(_ number: UInt16, _ attributes: (UInt16, [UInt8])...) {
        command(
            number,
            attributes.flatMap { $0 == 19 && version > 1 ? little($0) + $1 : attribute($0, $1) })
    }

    mutating func subvolume() {
        command(
            1, attribute(15, Array("s".utf8)) + attribute(1, Self.uuidBytes) + attribute(2, little(UInt64(7)))
        )
    }

    mutating func snapshot() {
        command(
            2,
            attribute(15, Array("s".utf8)) + attribute(1, Self.uuidBytes) + attribute(2, little(UInt64(9)))
                + attribute(20, Self.parentBytes) + attribute(21, little(UInt64(7))))
    }

    mutating func write(_ count: Int) {
        command(
            15, (15, Array("s/f".utf8)), (18, little(UInt64(0))), (19, [UInt8](repeating: 0x15, count: count))
        )
    }

    /// ENCODED_WRITE, in the order in which the kernel writes its attributes.
    mutating func encoded(path: String, whole: UInt64, data: Int) {
        command(
            25, (15, Array(path.utf8)), (18, little(UInt64(0))), (27, little(whole)), (28, little(whole)),
            (29, little(UInt64(0))), (30, little(UInt32(2))), (19, [UInt8](repeating: 7, count: data)))
    }

    mutating func updateExtent(_ size: UInt64) {
        command(
            22,
            attribute(15, Array("s/f".utf8)) + attribute(18, little(UInt64(0))) + attribute(4, little(size)))
    }

    mutating func end() { command(21) }

    static func full(version: UInt32 = 1) -> StreamBuilder {
        var stream = StreamBuilder(version: version)
        stream.subvolume()
        stream.write(3)
        stream.write(49152)
        stream.command(20)
        stream.end()
        return stream
    }
}

func attribute(_ type: UInt16, _ value: [UInt8]) -> [UInt8] {
    little(type) + little(UInt16(value.count)) + value
}

func little(_ value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian) { Array($0) }
}

/// Bit by bit, unlike the walker's table.
func checksum(_ bytes: [UInt8]) -> UInt32 {
    var crc: UInt32 = 0
    for byte in bytes {
        crc ^= UInt32(byte)
        for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0x82f6_3b78 : crc >> 1 }
    }
    return crc
}
