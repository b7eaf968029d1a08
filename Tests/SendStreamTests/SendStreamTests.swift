import JSON
import Plumbing
import Testing

@testable import SendStream

@Suite struct Whole {
    @Test(arguments: [UInt32(1), 2, 3]) func full(version: UInt32) throws {
        let stream = StreamBuilder.full(version: version)
        let summary = try walk(stream.bytes)
        #expect(
            summary
                == Summary(
                    uuid: StreamBuilder.uuid, parentUUID: nil, version: version,
                    bytes: UInt64(stream.bytes.count), extentBytes: 0))
    }

    /// What the file system had compressed counts as what it stands for, wherever the stream is cut into pieces.
    @Test(arguments: [1, 7, 4096, 1 << 20]) func compressedData(step: Int) throws {
        var stream = StreamBuilder(version: 2)
        stream.subvolume()
        for (whole, data) in [(UInt64(131072), 5000), (131072, 0), (4096, 4096), (131072, 131000)] {
            stream.encoded(path: "s/f", whole: whole, data: data)
        }
        // The longest path, and numbers that no kernel writes.
        stream.encoded(path: String(repeating: "p", count: 4096), whole: 131072, data: 10)
        stream.encoded(path: "s/f", whole: 10, data: 4096)
        stream.encoded(path: "s/f", whole: .max, data: 4096)
        stream.command(25)
        stream.command(25, [1, 2, 3])
        stream.end()
        var walker = SendStream(at: "test")
        try stream.bytes.withUnsafeBytes { bytes in
            for start in stride(from: 0, to: bytes.count, by: step) {
                try walker.walk(.init(rebasing: bytes[start..<min(start + step, bytes.count)]))
            }
        }
        #expect(walker.spared == 126072 + 131072 + 0 + 72 + 131062)
        let summary = try walker.finish()
        #expect(summary.bytes == UInt64(stream.bytes.count) && summary.version == 2)
    }

    @Test func incremental() throws {
        var stream = StreamBuilder()
        stream.snapshot()
        stream.end()
        let summary = try walk(stream.bytes)
        #expect(summary.uuid == StreamBuilder.uuid)
        #expect(summary.parentUUID == StreamBuilder.parent)
        #expect(
            summary.record.description
                == """
                {"stream":"btrfs","type":"incremental","uuid":"\(StreamBuilder.uuid)",\
                "parentUuid":"\(StreamBuilder.parent)","protocol":1,"bytes":\(stream.bytes.count),"complete":true}
                """)
    }

    @Test func recordOfFull() throws {
        let record = try walk(StreamBuilder.full().bytes).record
        #expect(record["type"] == "full")
        #expect(record["parentUuid"] == .null)
    }

    @Test func extents() throws {
        var stream = StreamBuilder()
        stream.subvolume()
        stream.updateExtent(1 << 40)
        stream.updateExtent(5)
        stream.end()
        #expect(try walk(stream.bytes).extentBytes == 1 << 40 + 5)
    }

    @Test func byteByByte() throws {
        let bytes = StreamBuilder.full().bytes
        #expect(try walk(bytes, pieces: { 1 }) == walk(bytes))
    }

    @Test(arguments: 0..<50) func randomSplits(seed: UInt64) throws {
        var random = Generator(state: seed)
        let bytes = StreamBuilder.full().bytes
        #expect(try walk(bytes, pieces: { Int.random(in: 0...60, using: &random) }) == walk(bytes))
    }

    /// A command of a real stream, from `btrfs send` of Linux 6.18: END with its checksum.
    @Test func kernelChecksum() throws {
        var stream = StreamBuilder()
        stream.end()
        #expect(stream.bytes.suffix(10) == [0, 0, 0, 0, 21, 0, 0x50, 0x6c, 0xc9, 0x9d])
    }
}

@Suite struct Damaged {
    @Test func cutAtEveryCommandAndInsideEveryHeader() throws {
        let stream = StreamBuilder.full()
        var cuts: Set<Int> = []
        for start in [0] + stream.ends.dropLast() { cuts.formUnion(start...start + 9) }
        cuts.formUnion(stream.ends.dropLast())
        cuts.formUnion(stream.ends.map { $0 - 1 })
        for cut in cuts {
            let failure = #expect(throws: Failure.self) { try walk(Array(stream.bytes.prefix(cut))) }
            #expect(failure?.status == .badData)
            #expect(failure?.place == (cut == 0 ? "test" : "test, byte \(cut)"))
        }
    }

    @Test func behindEnd() {
        let bytes = StreamBuilder.full().bytes
        for garbage in [[0], Array(bytes.prefix(40)), [UInt8](repeating: 0, count: 100_000)] as [[UInt8]] {
            let failure = #expect(throws: Failure.self) { try walk(bytes + garbage) }
            #expect(failure?.what == "extra data after the END command of the btrfs stream")
            #expect(failure?.place == "test, byte \(bytes.count)")
        }
    }

    @Test func twoSubvolumes() {
        for second in [{ $0.subvolume() }, { $0.snapshot() }] as [(inout StreamBuilder) -> Void] {
            var stream = StreamBuilder()
            stream.subvolume()
            stream.write(9)
            let place = stream.bytes.count
            second(&stream)
            stream.end()
            let failure = #expect(throws: Failure.self) { try walk(stream.bytes) }
            #expect(failure?.what == "two subvolumes in one btrfs stream")
            #expect(failure?.place == "test, byte \(place)")
        }
    }

    /// Every bit of the first command and of END: an identity that we take, an end that we trust.
    @Test func flippedBits() {
        let stream = StreamBuilder.full()
        let bytes = stream.bytes
        for index in Array(stream.ends[0]..<stream.ends[1]) + Array(bytes.count - 10..<bytes.count) {
            for bit in 0..<8 {
                var damaged = bytes
                damaged[index] ^= 1 << bit
                let failure = #expect(throws: Failure.self) { try walk(damaged) }
                #expect(failure?.status == .badData)
            }
        }
    }

    @Test func firstCommandIsAnother() {
        for number in [UInt16(15), 21, 22] {
            var stream = StreamBuilder()
            stream.command(number)
            stream.end()
            #expect(throws: Failure.self) { try walk(stream.bytes) }
        }
    }

    @Test func attributesMissingOrIllFormed() {
        let path = attribute(15, [0x73])
        for payload in [
            [], path, path + attribute(1, [1, 2, 3]), path + [1, 0, 16, 0, 1], path + [1],
            path + attribute(1, StreamBuilder.uuidBytes), path + [9, 9, 255, 255],
        ] as [[UInt8]] {
            var stream = StreamBuilder()
            stream.command(2, payload)
            stream.end()
            let failure = #expect(throws: Failure.self) { try walk(stream.bytes) }
            #expect(failure?.what.hasPrefix("missing or invalid attribute") == true)
        }
    }

    @Test func lengths() {
        for (number, length) in [(15, 1 << 20 + 1), (15, .max), (1, 16 << 10 + 1), (2, .max), (22, 70000)]
            as [(UInt16, UInt32)]
        {
            var stream = StreamBuilder()
            if number != 1 && number != 2 { stream.subvolume() }
            let place = stream.bytes.count
            let header = little(length) + little(number) + [0, 0, 0, 0]
            let failure = #expect(throws: Failure.self) { try walk(stream.bytes + header) }
            #expect(failure?.place == "test, byte \(place)")
        }
        #expect(throws: Failure.self) {
            var stream = StreamBuilder()
            stream.subvolume()
            stream.command(21, [0])
            _ = try walk(stream.bytes)
        }
    }

    @Test func extentsBeyond64Bits() {
        var stream = StreamBuilder()
        stream.subvolume()
        stream.updateExtent(.max)
        stream.updateExtent(1)
        stream.end()
        #expect(throws: Failure.self) { try walk(stream.bytes) }
    }

    @Test(arguments: [(UInt32(1), UInt16(23)), (2, 26), (3, 27), (1, 0)])
    func unknownCommand(version: UInt32, number: UInt16) {
        var stream = StreamBuilder(version: version)
        stream.subvolume()
        stream.command(number)
        stream.end()
        let failure = #expect(throws: Failure.self) { try walk(stream.bytes) }
        #expect(failure?.what.hasPrefix("unknown command \(number)") == true)
    }

    @Test(arguments: [UInt32(0), 4, .max]) func versions(version: UInt32) {
        let failure = #expect(throws: Failure.self) { try walk(StreamBuilder.full(version: version).bytes) }
        #expect(failure?.what == "unknown version \(version) of the btrfs send protocol")
    }

    @Test func noStream() {
        let failure = #expect(throws: Failure.self) { try walk(Array("some words, but no stream".utf8)) }
        #expect(failure?.what == "not a btrfs stream")
    }
}

@Suite struct Recognition {
    @Test func byPrefix() {
        let magic = Array("btrfs-stream\0".utf8)
        for count in 0..<13 { #expect(SendStream.recognises(magic.prefix(count)) == nil) }
        #expect(SendStream.recognises(magic) == true)
        #expect(SendStream.recognises(magic + [1, 0, 0, 0]) == true)
        #expect(SendStream.recognises(Array("btrfs-stream ".utf8)) == false)
        #expect(SendStream.recognises(Array("x".utf8)) == false)
    }
}

private func walk(_ bytes: [UInt8], pieces: () -> Int = { .max }) throws -> Summary {
    var stream = SendStream(at: "test")
    try bytes.withUnsafeBytes { bytes in
        var position = 0
        while position < bytes.count {
            let count = min(pieces(), bytes.count - position)
            try stream.walk(.init(rebasing: bytes[position..<position + count]))
            position += count
        }
    }
    return try stream.finish()
}

/// Knuth's 64-bit linear congruential generator: the same splits in every run.
private struct Generator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state
    }
}
