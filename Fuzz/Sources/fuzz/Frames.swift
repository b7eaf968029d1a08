import Fuzzing
import Plumbing
import Zstandard

/// As much is let out of the decompressor: a few bytes may stand for gigabytes.
private let limit = 16 << 20
private struct Enough: Error {}

/// Frames that somebody made, or that the compressor made and one thing was done to, in one piece and in many.
func frames(_ input: [UInt8]) throws {
    var program = Program(input)
    let wrong = program.byte() % 4
    let (one, other) = (program.number(below: 1 << 24), program.byte())
    let isRepeated = program.byte() & 1 == 1
    let plain = [[UInt8]](repeating: program.rest(), count: isRepeated ? 100 : 1).flatMap { $0 }
    guard wrong > 0, !plain.isEmpty else {
        _ = try decompressed(input)
        return
    }

    let compressor = try Compressor(level: 1 + Int(other) % 9)
    defer { compressor.end() }
    var packed: [UInt8] = []
    for start in stride(from: 0, to: plain.count, by: 100_000) {
        let piece = plain[start..<min(plain.count, start + 100_000)]
        guard let room = compressor.room else { fatalError("no room") }
        room.copyBytes(from: piece)
        compressor.submit(piece.count)
        _ = try compressor.take { packed += Array($0) }
    }
    let right = packed
    switch wrong {
    case 2: packed[one % packed.count] ^= 1 << (other % 8)
    case 3: packed.removeLast(1 + one % packed.count)
    default: break
    }
    let came = try decompressed(packed)
    hold(packed != right || came == plain, "not what was compressed")
    hold(wrong != 3 || came == nil || plain.starts(with: came!) && came! != plain, "cut, and taken for whole")
}

/// What came out, where all of it is right; a part, where it is too much.
private func decompressed(_ input: [UInt8]) throws -> [UInt8]? {
    func run(_ feed: (_ take: (UnsafeRawBufferPointer) throws -> Void) throws -> Void) throws -> [UInt8]? {
        let decompressor = try Decompressor(at: "input")
        var out: [UInt8] = []
        func pass(_ bytes: UnsafeRawBufferPointer) throws {
            out += Array(bytes)
            if out.count > limit { throw Enough() }
        }
        do {
            return try accepted {
                try feed { try decompressor.add($0, pass) }
                try decompressor.finish(pass)
                return out
            }
        } catch is Enough {
            return Array(out.prefix(limit))
        }
    }
    let whole = try run { take in try input.withUnsafeBytes { try take($0) } }
    hold(try run { take in try input.inPieces { try take($0) } } == whole, "pieces make a difference")
    return whole
}
