import Envelope
import Fuzzing
import OpenSSL
import Plumbing
import StoreFormat

@testable import Sealing
@testable import Storage

private let key = Key(Secret([UInt8](repeating: 0x2a, count: Key.length)))
private let (source, sink) = (Memory(), Memory())

/// What came out of it, and whether it was called whole.
private func opened(_ sealed: [UInt8], _ kind: Envelope.Kind, inPackets: Bool = false) throws -> (
    plain: [UInt8], isWhole: Bool
) {
    let input =
        try (inPackets ? packets(sealed, front: Envelope.prefixLength) : nil) ?? source.holding(sealed)
    let isWhole = try isAccepted {
        try unseal(kind, under: key, from: input, to: sink.holding(), progress: { _ in })
    }
    return (sink.content, isWhole)
}

/// Bytes that nobody has sealed.
func sealedBytes(_ input: [UInt8]) throws {
    for kind in [Envelope.Kind.blob, .metadata] {
        let (plain, isWhole) = try opened(input, kind)
        guard isWhole, input[11] == Envelope.Compression.none.rawValue else { continue }
        hold(
            Envelope.sealedLength(of: UInt64(plain.count)) == UInt64(input.count), "more or less than sealed")
    }
}

/// A series, in one piece and in many; what is opened of it is a history.
func series(_ input: [UInt8]) throws {
    func items(_ feed: (_ take: (UnsafeRawBufferPointer) throws -> Void) throws -> Void) throws -> String {
        var (reader, text) = (Series.Reader(at: "input"), "")
        let isAccepted = try isAccepted {
            try feed { try reader.add($0) { text += "\($0) \($1.count)\n" } }
        }
        return "\(text)\(isAccepted) \(reader.isWhole)"
    }
    let whole = try items { take in try input.withUnsafeBytes { try take($0) } }
    hold(try items { take in try input.inPieces { try take($0) } } == whole, "other items in pieces")
    var missing = 0
    let isOpened = try isAccepted {
        missing = try unsealSeries(
            under: key, from: source.holding(input), behind: [], to: sink.holding(), complain: { _ in })
    }
    hold(isOpened == whole.hasSuffix("true true"), "whole to one, and not to the other")
    let lines = String(decoding: sink.content, as: UTF8.self).split(separator: "\n")
    hold(!isOpened || lines.count == missing + 1 && lines.last?.hasPrefix("end ") == true, "not its lines")
}

/// A stream that has right tags, and then perhaps one thing that is wrong, also one that takes the key. It opens if it is
/// byte for byte what the seal makes; else a part of the plaintext comes out, and never its end.
func sealedStream(_ input: [UInt8]) throws {
    var program = Program(input)
    let kind = [Envelope.Kind.blob, .metadata][program.number(below: 2)]
    let inPackets = program.byte() & 1 == 1
    // Seldom as many as are opened at once: those take their time.
    let choice = program.number(below: 64)
    let full = choice < 60 ? choice % 4 : choice + 3
    let last = program.number(below: Envelope.chunkLength)
    let wrong = program.byte() % 12
    let (one, other) = (program.number(below: 1 << 24), program.number(below: 1 << 24))

    let header = Envelope.Header(kind: kind, keyID: try key.id())
    let salt = [UInt8](repeating: 7, count: Envelope.saltLength)
    /// The stream under another header of the same length, where one is given.
    func seal(_ pieces: [[UInt8]], header changed: [UInt8]? = nil) throws -> [[UInt8]] {
        var chunks = try Chunks(.seal, inputKey: key.inputKey(of: kind), header: header, salt: salt)
        return try [changed ?? header.bytes, salt + chunks.commitment]
            + pieces.map { piece in
                var sealed = [UInt8](repeating: 0, count: piece.count + Envelope.tagLength)
                try piece.withUnsafeBytes { piece in
                    try sealed.withUnsafeMutableBytes { try chunks.seal(piece, into: $0) }
                }
                return sealed
            }
    }
    func whole(_ parts: [[UInt8]]) -> [UInt8] {
        let bytes = Array(parts.joined())
        return bytes + Envelope.trailer(length: UInt64(bytes.count + Envelope.trailerLength))
    }
    let pieces =
        (0..<full).map { [UInt8](repeating: UInt8($0), count: Envelope.chunkLength) }
        + [[UInt8](repeating: 0xee, count: last)]
    let plain = Array(pieces.joined())
    let parts = try seal(pieces)
    let right = whole(parts)

    var bytes = right
    let (first, second) = (2 + one % pieces.count, 2 + other % pieces.count)
    switch wrong {
    case 1: bytes.removeLast(1 + one % bytes.count)
    case 2: bytes[one % bytes.count] ^= 1 << UInt8(other % 8)
    case 3: bytes += program.rest() + [0]
    case 4:
        bytes.replaceSubrange(
            (bytes.count - 8)..., with: Envelope.trailer(length: program.number(bytes: 8)).suffix(8))
    case 5:
        var parts = parts
        parts.remove(at: first)
        bytes = whole(parts)
    case 6:
        var parts = parts
        parts.swapAt(first, second)
        bytes = whole(parts)
    case 7:
        var pieces = pieces
        pieces[first - 2].removeLast(min(pieces[first - 2].count, other % 100))
        bytes = whole(try seal(pieces))
    case 8: bytes = whole(try seal(Array(pieces.dropLast())))
    case 9:
        var parts = parts
        parts.insert(parts[first], at: second)
        bytes = whole(parts)
    case 10: bytes += right
    case 11:
        var changed = header.bytes
        changed[one % changed.count] = UInt8(other & 0xff)
        bytes = whole(try seal(pieces, header: changed))
    default: break
    }
    let (came, isWhole) = try opened(bytes, kind, inPackets: inPackets)
    // A shorter last chunk is a stream of its own.
    let isShorter = wrong == 7 && first - 2 == full
    hold(isWhole == (bytes == right || isShorter), "taken for whole: \(isWhole), wrong: \(wrong)")
    hold(plain.starts(with: came), "what came out is not what went in")
    hold(isWhole ? isShorter || came == plain : plain.isEmpty || came.count < plain.count, "the end came out")
}

func envelope(_ input: [UInt8]) throws {
    let count = UInt64(input.count + Envelope.trailerLength)
    for bytes in [input, input + Envelope.trailer(length: count)] {
        for kind in Envelope.Kind.allCases {
            let isWhole = try isAccepted { try Framing.check(bytes, kind, at: "input") }
            let isWholeInPieces = try isAccepted {
                var framing = Framing(kind, at: "input")
                try Array(bytes.prefix(Envelope.headerLength)).withUnsafeBytes { try framing.add($0) }
                try Array(bytes.dropFirst(Envelope.headerLength)).inPieces { try framing.add($0) }
                try framing.finish()
                hold(framing.length == UInt64(bytes.count), "counted \(framing.length)")
            }
            hold(isWhole == isWholeInPieces, "pieces make a difference")
            guard isWhole else { continue }
            let header = try Envelope.Header(parsing: Array(bytes.prefix(64)), at: "input")
            hold(header.bytes == Array(bytes.prefix(64)) && header.kind == kind, "another header")
            hold(bytes.count >= Envelope.minimumLength, "too short")
        }
    }
}

func keyFile(_ input: [UInt8]) throws {
    if let text = String(validating: input, as: UTF8.self),
        let key = try accepted({ try Key(parsing: text, at: "input") })
    {
        for text in [key.text, key.text.lowercased(), "# \n\n \(key.text) \r\n"] {
            hold(try Key(parsing: text, at: "again").id() == key.id(), "another key")
        }
    }
    // As many as four wrong letters are found.
    var program = Program(input)
    let bytes = program.take(Key.length)
    let text = bytes.withUnsafeBytes { Bech32.encode($0, prefix: "epod-key-") }
    hold(Bech32.decode(text, prefix: "epod-key-") == bytes, "not what was encoded")
    var letters = Array(text.utf8)
    for _ in 0..<program.number(below: 5) {
        letters[program.number(below: letters.count)] = program.byte() & 0x7f
    }
    let changed = String(decoding: letters, as: UTF8.self)
    let decoded = Bech32.decode(changed, prefix: "epod-key-")
    hold((decoded == nil) == (changed != text && changed.uppercased() != text || isMixed(changed)), changed)
    hold(decoded == nil || decoded == bytes, "other bytes")
}

private func isMixed(_ text: String) -> Bool { text != text.lowercased() && text != text.uppercased() }

func passphrase(_ input: [UInt8]) throws {
    let taken = try accepted {
        try Passphrase(from: "input") { buffer in
            buffer.copyBytes(from: input.prefix(buffer.count))
            return min(input.count, buffer.count)
        }
    }
    let words = input.prefix(Passphrase.maximumLength).split { $0 == 0x20 || (0x09...0x0d).contains($0) }
    hold(
        taken.map { $0.withBytes { Array($0) } } ?? [] == Array(words.joined(separator: [0x20])),
        "white space counts")
}

func wrappedKey(_ input: [UInt8]) throws {
    _ = try accepted { try WrappedKey(parsing: input, at: "input") }
    // The same with what everybody can reckon: magic and version, checksum, trailer.
    var program = Program(input)
    var bytes = Envelope.Header(kind: .key, keyID: [UInt8](repeating: 1, count: 16)).bytes
    bytes.replaceSubrange(16..., with: (16..<WrappedKey.length).map { _ in program.byte() })
    if program.byte() & 1 == 0 { bytes.replaceSubrange(35..<40, with: [0, 0, 0, 0, 0]) }
    let prefix = bytes[..<40] + bytes[48..<88]
    bytes.replaceSubrange(40..<48, with: try Digest.bytes(.sha256, of: Array(prefix)).prefix(8))
    bytes.replaceSubrange(
        (WrappedKey.length - 16)..., with: Envelope.trailer(length: UInt64(WrappedKey.length)))
    guard let wrapped = try accepted({ try WrappedKey(parsing: bytes, at: "input") }) else { return }
    hold(wrapped.keyID == Array(bytes[16..<32]), "another id")
    hold(
        bytes[32] <= 20 && 128 * UInt64(bytes[33]) << UInt64(bytes[32]) <= 1 << 30 && bytes[34] <= 16,
        "scrypt without bounds")
}
