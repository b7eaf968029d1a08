import Envelope
import OpenSSL
import Plumbing
import Sealing
import Testing
import Zstandard

@Suite struct Streams {
    @Test(arguments: [1, 16, 16383, 16384, 16385, 32768, 1 << 20, (1 << 20) + 1, 3_000_001])
    func comeBackAsTheyWere(length: Int) throws {
        let stream = try sealed(sample(length))
        #expect(UInt64(stream.count) == Envelope.sealedLength(of: UInt64(length)))
        let outcome = try unsealed(stream)
        #expect(outcome.failure == nil)
        #expect(same(outcome.bytes, sample(length)))
    }

    @Test(arguments: [1, 16384, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5_000_001], [1, 7, 19])
    func comeBackAsTheyWereWhenCompressed(length: Int, level: Int) throws {
        let stream = try sealed(sample(length), compressing: level)
        #expect(length < 1000 || stream.count < length / 10)
        let outcome = try unsealed(stream)
        #expect(outcome.failure == nil)
        #expect(same(outcome.bytes, sample(length)))
    }

    @Test func whatIsCompressedAlreadyGrowsByAThousandthAtMost() throws {
        let noise = try randomBytes(count: 3_000_001)
        let stream = try sealed(noise, compressing: 1)
        #expect(stream.count < Int(Envelope.sealedLength(of: 3_000_001)) + 3000)
        #expect(try same(unsealed(stream).bytes, noise))
    }

    @Test func itSaysToHowManyBytesItWasCompressed() throws {
        for level in [nil, 1] {
            var said: UInt64?
            let outcome = try run(sample(3_000_001)) {
                try seal(
                    .blob, under: key(), compressing: level, from: $0, to: $1, inspect: { _ in },
                    confirm: { said = $0 })
            }
            #expect((said == nil) == (level == nil))
            #expect(UInt64(outcome.bytes.count) == Envelope.sealedLength(of: said ?? 3_000_001))
        }
    }

    @Test func twoSealsOfTheSameDiffer() throws {
        #expect(try !same(sealed(sample(100)), sealed(sample(100))))
    }

    @Test(arguments: [nil, 1])
    func nothingIsNotSealed(level: Int?) throws {
        let outcome = try run([]) {
            try seal(
                .blob, under: key(), compressing: level, from: $0, to: $1, inspect: { _ in },
                confirm: { _ in })
        }
        #expect(outcome.failure?.status == .badData)
        #expect(outcome.bytes.isEmpty)
    }

    @Test(arguments: [100, 16384, 40000, 3_000_000], [nil, 1])
    func withoutConfirmationThereIsNoTail(length: Int, level: Int?) throws {
        let no = Failure(.badData, "no")
        let outcome = try run(sample(length)) {
            try seal(
                .blob, under: key(), compressing: level, from: $0, to: $1, inspect: { _ in },
                confirm: { _ in throw no })
        }
        #expect(outcome.failure == no)
        #expect(try unsealed(outcome.bytes).failure?.status == .badData)
    }

    @Test(arguments: [nil, 1])
    func theInspectorSeesEveryByteOnce(level: Int?) throws {
        var seen: [UInt8] = []
        _ = try run(sample(3_000_001)) {
            try seal(
                .blob, under: key(), compressing: level, from: $0, to: $1, inspect: { seen += Array($0) },
                confirm: { _ in })
        }
        #expect(same(seen, sample(3_000_001)))
    }

    @Test(arguments: [nil, 1])
    func whatTheInspectorRefusesHasNoTail(level: Int?) throws {
        let no = Failure(.badData, "no")
        var count = 0
        let outcome = try run(sample(9_000_000)) {
            try seal(
                .blob, under: key(), compressing: level, from: $0, to: $1,
                inspect: {
                    count += $0.count
                    if count > 5_000_000 { throw no }
                }, confirm: { _ in })
        }
        #expect(outcome.failure == no)
        #expect(try unsealed(outcome.bytes).failure?.status == .badData)
    }
}

/// What a store, a cable or an enemy can do to a stream. None of it opens, and none of it lets the newest chunk out.
@Suite struct Damage {
    static let chunk = Envelope.chunkLength + Envelope.tagLength
    static let plaintext = sample(3 * Envelope.chunkLength + 1000)

    private func refused(_ stream: [UInt8], _ comment: Comment) throws {
        let outcome = try unsealed(stream)
        #expect(outcome.failure?.status == .badData, comment)
        #expect(outcome.failure?.place?.isEmpty == false, comment)
        #expect(outcome.bytes.count < Damage.plaintext.count - 1000, comment)
        #expect(Damage.plaintext.starts(with: outcome.bytes), comment)
    }

    @Test func everyCutInAndAroundEachPart() throws {
        let stream = try sealed(Damage.plaintext)
        let edges =
            [0, Envelope.headerLength, Envelope.headerLength + Envelope.saltLength]
            + (0...3).map { Envelope.prefixLength + $0 * Damage.chunk }
            + [
                stream.count - Envelope.trailerLength - Envelope.tagLength,
                stream.count - Envelope.trailerLength,
            ]
        let cuts = Set(edges.flatMap { [$0 - 1, $0, $0 + 1, $0 + 17] } + [stream.count - 1])
        for cut in cuts where cut >= 0 && cut < stream.count {
            try refused(Array(stream[..<cut]), "cut at \(cut)")
        }
    }

    @Test func aCutInWhatIsCompressed() throws {
        let plaintext = try randomBytes(count: 100_000)
        let stream = try sealed(plaintext, compressing: 1)
        for cut in [16384, stream.count / 2, stream.count - Envelope.trailerLength, stream.count - 1] {
            let outcome = try unsealed(Array(stream[..<cut]))
            #expect(outcome.failure?.status == .badData)
            #expect(outcome.bytes.count < plaintext.count - 1000 && plaintext.starts(with: outcome.bytes))
        }
    }

    // Whoever made the frames: of these, the last chunk has but the checksum.
    @Test func theLastByteStaysBackUntilAllIsRight() throws {
        let decompressor = try Decompressor(at: "test")
        let hello: [UInt8] = [
            0x28, 0xb5, 0x2f, 0xfd, 0x20, 5, 0x29, 0, 0, 0x68, 0x65, 0x6c, 0x6c, 0x6f,
        ]
        var out: [UInt8] = []
        try hello.withUnsafeBytes { try decompressor.add($0) { out += Array($0) } }
        #expect(out == Array("hell".utf8))
        try decompressor.finish { out += Array($0) }
        #expect(out == Array("hello".utf8))
    }

    @Test func everyHeaderByteFlipped() throws {
        let stream = try sealed(Damage.plaintext)
        for index in 0..<Envelope.prefixLength {
            var bad = stream
            bad[index] ^= 0x20
            try refused(bad, "byte \(index)")
        }
    }

    @Test func oneByteFlippedInEveryRegion() throws {
        let stream = try sealed(Damage.plaintext)
        let starts = (0...3).map { Envelope.prefixLength + $0 * Damage.chunk }
        let tags = starts.dropFirst().map { $0 - 1 } + [stream.count - Envelope.trailerLength - 1]
        for index in starts + tags + (stream.count - Envelope.trailerLength..<stream.count) {
            var bad = stream
            bad[index] ^= 1
            try refused(bad, "byte \(index)")
        }
    }

    @Test func chunksSwappedDroppedDoubledSpliced() throws {
        let stream = try sealed(Damage.plaintext)
        let other = try sealed(Damage.plaintext)
        let prefix = Envelope.prefixLength
        let head = Array(stream[..<prefix])
        func chunk(_ number: Int, of stream: [UInt8]) -> [UInt8] {
            Array(stream[(prefix + number * Damage.chunk)...].prefix(Damage.chunk))
        }
        let last = Array(stream[(prefix + 3 * Damage.chunk)..<(stream.count - Envelope.trailerLength)])
        func whole(_ body: [UInt8]) -> [UInt8] {
            head + body + Envelope.trailer(length: UInt64(head.count + body.count + Envelope.trailerLength))
        }
        let (a, b, c) = (chunk(0, of: stream), chunk(1, of: stream), chunk(2, of: stream))
        #expect(try unsealed(whole(a + b + c + last)).failure == nil, "the parts make the whole")
        try refused(whole(b + a + c + last), "swapped")
        try refused(whole(a + c + last), "dropped")
        try refused(whole(a + b + b + c + last), "doubled")
        try refused(whole(a + chunk(1, of: other) + c + last), "spliced")
        try refused(whole(a + b + c), "without its last chunk")
    }

    @Test func bytesBehindTheTrailer() throws {
        let stream = try sealed(Damage.plaintext)
        try refused(stream + [0], "one byte")
        try refused(stream + stream, "a second stream")
    }

    @Test func aTrailerWithAnotherLength() throws {
        let stream = try sealed(Damage.plaintext)
        for length in [0, UInt64(stream.count) - 1, UInt64(stream.count) + 1, .max] {
            try refused(
                stream.dropLast(Envelope.trailerLength) + Envelope.trailer(length: length), "\(length)")
        }
    }

    @Test func anotherKeyOrKindIsNamed() throws {
        let stream = try sealed(Damage.plaintext)
        let foreign = try unsealed(stream, under: Key.generate())
        #expect(foreign.failure?.what.contains("another key") == true)
        let kind = try unsealed(stream, .metadata)
        #expect(kind.failure?.what == "a sealed stream of kind blob, not metadata")
        #expect(foreign.bytes.isEmpty && kind.bytes.isEmpty)
    }
}
