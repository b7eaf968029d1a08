import Glibc
import Plumbing
import SendStream
import Testing

@testable import Receiving

@Suite struct Decompressing {
    /// "0123" 64 times, as zlib and zstd compress it.
    private static let digits = [UInt8](String(repeating: "0123", count: 64).utf8)
    private static let zlib: [UInt8] = [120, 218, 51, 48, 52, 50, 54, 24, 193, 24, 0, 217, 232, 49, 129]
    private static let zstd: [UInt8] = [
        40, 181, 47, 253, 0, 104, 93, 0, 0, 32, 48, 49, 50, 51, 1, 0, 121, 212, 37, 2,
    ]
    /// Two pieces that are literals alone. The length of the second one would lie across the end of a sector of 20 bytes.
    private static let lzo: [UInt8] =
        [33, 0, 0, 0] + [11, 0, 0, 0, 24] + Array("hello, ".utf8) + [0x11, 0, 0]
        + [0] + [9, 0, 0, 0, 22] + Array("world".utf8) + [0x11, 0, 0]

    static let samples: [(Decompression, [UInt8], [UInt8])] = [
        (.zlib, zlib, digits), (.zstd, zstd, digits), (.lzo(sector: 20), lzo, Array("hello, world".utf8)),
    ]

    private func open(_ kind: Decompression, _ data: [UInt8], room: Int) throws -> [UInt8] {
        var stream = StreamBuilder()
        stream.subvolume()
        var reader = CommandReader(at: "stream")
        var rest = stream.bytes[...]
        let frame = try reader.next { buffer in
            buffer.copyBytes(from: rest.prefix(buffer.count))
            defer { rest = rest.dropFirst(buffer.count) }
            return min(buffer.count, rest.count)
        }
        var bytes = [UInt8](repeating: 0xff, count: room)
        try data.withUnsafeBytes { data in
            try bytes.withUnsafeMutableBytes { try kind.open(data, into: $0, frame) }
        }
        return bytes
    }

    @Test(arguments: samples) func whatItStandsFor(_ kind: Decompression, _ data: [UInt8], _ plain: [UInt8])
        throws
    {
        #expect(try open(kind, data, room: plain.count) == plain)
        // Extents are whole sectors, and what they stand for may be less than its room.
        let padded = data + [UInt8](repeating: 0, count: 100)
        #expect(try open(kind, padded, room: plain.count + 50) == plain + [UInt8](repeating: 0, count: 50))
    }

    @Test(arguments: samples) func whatIsCutOrTooLong(
        _ kind: Decompression, _ data: [UInt8], _ plain: [UInt8]
    ) {
        for length in data.indices {
            #expect(throws: Failure.self, "\(length)") {
                try open(kind, Array(data.prefix(length)), room: plain.count)
            }
        }
        #expect(throws: Failure.self) { try open(kind, data, room: plain.count - 1) }
    }

    /// Never beyond its room, which the address sanitizer sees.
    @Test(arguments: samples) func whatIsDamaged(_ kind: Decompression, _ data: [UInt8], _ plain: [UInt8]) {
        for index in data.indices {
            for bit in 0..<8 {
                var damaged = data
                damaged[index] ^= 1 << bit
                _ = try? open(kind, damaged, room: plain.count)
            }
        }
    }

    @Test func whatThereIs() {
        #expect([0, 8, 30].allSatisfy { Decompression($0) == nil })
        for (number, wanted) in [(3, 4096), (4, 8192), (7, 65536)] as [(UInt32, Int)] {
            guard case .lzo(let sector) = Decompression(number), sector == wanted else {
                Issue.record("\(number)")
                continue
            }
        }
    }
}
