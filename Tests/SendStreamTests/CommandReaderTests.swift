import Plumbing
import Testing

@testable import SendStream

@Suite struct Commands {
    @Test(arguments: [UInt32(1), 2, 3]) func whole(version: UInt32) throws {
        var stream = StreamBuilder(version: version)
        stream.subvolume()
        stream.command(3, (15, Array("f".utf8)), (3, little(UInt64(257))))
        stream.command(15, (15, Array("f".utf8)), (18, little(UInt64(9))), (19, [1, 2, 3]))
        stream.command(20, (15, []), (10, little(Int64(-1)) + little(UInt32(999_999_999))))
        stream.end()
        let lines = try read(stream.bytes) { frame in
            switch frame.command {
            case .subvolume: try frame.uuid(.uuid).uuid
            case .write:
                try
                    "\(Array(frame.bytes(.path))) \(frame.number(.offset) as UInt64) \(Array(frame.bytes(.data)))"
            case .setTimes: try "\(frame.time(.modified))"
            default: "\(frame.command)"
            }
        }
        #expect(
            lines == [
                StreamBuilder.uuid, "makeFile", "[102] 9 [1, 2, 3]", "(seconds: -1, nanoseconds: 999999999)",
                "end",
            ])
    }

    /// More than the buffer holds.
    private static let long = {
        var stream = StreamBuilder(version: 2)
        stream.subvolume()
        for count in [0, 1, 49152, 150_000, 1 << 20 - 14, 3, 900_000] {
            stream.command(15, (15, [0x66]), (19, [UInt8](repeating: UInt8(count & 255), count: count)))
        }
        stream.end()
        return stream.bytes
    }()

    @Test(arguments: [1 << 20, 65536, 70001, 4093]) func longCommands(piece: Int) throws {
        let counts = try read(Commands.long, piece: piece) { frame in
            guard frame.command == .write else { return 0 }
            let data = try frame.bytes(.data)
            #expect(data.first ?? 0 == UInt8(data.count & 255) && data.last == data.first)
            return data.count
        }
        #expect(counts == [0, 0, 1, 49152, 150_000, 1 << 20 - 14, 3, 900_000, 0])
    }

    @Test func byteByByte() throws {
        let bytes = StreamBuilder.full().bytes
        #expect(try read(bytes, piece: 1) { $0.command } == read(bytes) { $0.command })
    }

    @Test func checksumByTableAndByProcessor() {
        let bytes = (0..<100).map { UInt8(truncatingIfNeeded: $0 &* 167) }
        bytes.withUnsafeBytes { bytes in
            for start in 0..<9 {
                for end in start...bytes.count {
                    var (one, other) = (CRC32C(), CRC32C())
                    one.update(.init(rebasing: bytes[start..<end]))
                    other.updateByTable(.init(rebasing: bytes[start..<end]))
                    #expect(one.value == other.value && one.value == checksum(Array(bytes[start..<end])))
                }
            }
        }
    }
}

@Suite struct DamagedCommands {
    private let stream = {
        var stream = StreamBuilder()
        stream.snapshot()
        stream.write(70)
        stream.command(20, (15, [0x66]))
        stream.end()
        return stream
    }()

    @Test func cutAnywhere() {
        for cut in 0..<stream.bytes.count {
            let failure = #expect(throws: Failure.self) { try read(Array(stream.bytes.prefix(cut))) { _ in } }
            #expect(failure?.status == .badData)
            #expect(failure?.place == (cut == 0 ? "test" : "test, byte \(cut)"))
        }
    }

    @Test func everyBit() {
        for index in stream.bytes.indices {
            for bit in 0..<8 {
                var damaged = stream.bytes
                damaged[index] ^= 1 << bit
                // A version that has all of these commands is one, too.
                if index == 13, [2, 3].contains(damaged[index]) { continue }
                let failure = #expect(throws: Failure.self) { try read(damaged) { _ in } }
                #expect(failure?.status == .badData)
            }
        }
    }

    @Test func behindEnd() {
        for garbage in [[0], StreamBuilder.full().bytes, [UInt8](repeating: 0, count: 3_000_000)] as [[UInt8]]
        {
            let failure = #expect(throws: Failure.self) { try read(stream.bytes + garbage) { _ in } }
            #expect(failure?.what == "extra data after the END command of the btrfs stream")
            #expect(failure?.place == "test, byte \(stream.bytes.count)")
        }
    }

    @Test func attributes() {
        let path = attribute(15, [0x66])
        for payload in [
            path + path, path + attribute(0, []), path + attribute(36, []), path + [1], path + [1, 0],
            path + [1, 0, 2, 0, 1], [255, 255, 255, 255], path + attribute(1, [1]) + attribute(1, [1]),
        ] {
            for version in [UInt32(1), 2] {
                var damaged = StreamBuilder(version: version)
                damaged.subvolume()
                damaged.command(17, payload)
                damaged.end()
                let failure = #expect(throws: Failure.self) { try read(damaged.bytes) { _ in } }
                #expect(failure?.status == .badData)
            }
        }
    }

    @Test func valuesOfAnotherLength() throws {
        var stream = StreamBuilder()
        stream.subvolume()
        stream.command(
            20, (15, [0x66]), (4, [1, 2, 3]), (1, [1]), (10, [1]),
            (11, little(Int64(0)) + little(UInt32(1_000_000_000))))
        stream.end()
        _ = try read(stream.bytes) { frame in
            guard frame.command == .setTimes else { return }
            #expect(throws: Failure.self) { try frame.number(.size) as UInt64 }
            #expect(throws: Failure.self) { try frame.numberOrZero(.size) }
            #expect(throws: Failure.self) { try frame.uuid(.uuid) }
            #expect(throws: Failure.self) { try frame.time(.modified) }
            #expect(throws: Failure.self) { try frame.time(.accessed) }
            #expect(throws: Failure.self) { try frame.bytes(.target) }
            let compression = try frame.numberOrZero(.compression)
            #expect(compression == 0)
        }
    }

    @Test func whatTheWalkerRefusesToo() {
        var two = StreamBuilder()
        two.subvolume()
        two.subvolume()
        var other = StreamBuilder()
        other.write(1)
        var unknown = StreamBuilder()
        unknown.subvolume()
        unknown.command(23)
        var long = StreamBuilder()
        long.subvolume()
        let huge = long.bytes + little(UInt32(1 << 20 + 1)) + little(UInt16(15)) + little(UInt32(0))
        for bytes in [
            two.bytes, other.bytes, unknown.bytes, huge, StreamBuilder(version: 4).bytes, [1],
            [UInt8](repeating: 7, count: 90),
        ] {
            let failure = #expect(throws: Failure.self) { try read(bytes) { _ in } }
            #expect(failure?.status == .badData)
        }
    }
}

/// What `body` makes of each command.
private func read<Result>(_ bytes: [UInt8], piece: Int = .max, _ body: (Frame) throws -> Result) throws
    -> [Result]
{
    var reader = CommandReader(at: "test")
    var position = 0
    var results: [Result] = []
    while true {
        let frame = try reader.next { buffer in
            let count = min(piece, buffer.count, bytes.count - position)
            buffer.copyBytes(from: bytes[position..<position + count])
            position += count
            return count
        }
        results.append(try body(frame))
        if frame.command == .end { return results }
    }
}
