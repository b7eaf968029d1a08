public import Envelope
import OpenSSL
public import Plumbing
import Zstandard

/// Opens a sealed stream of any length, in about 2 MiB of memory, and 10 more at most where it was compressed.
///
/// Only bytes whose tag is right are written, and the newest chunk that has any stays back until the whole stream has
/// turned out whole, so that a reader never sees the end of a stream that is cut or tampered with.
///
/// - Parameters:
///   - front: the first bytes, where they have been read already; at most a header.
///   - progress: called with the count of sealed bytes that have come, now and then.
/// - Throws: `badData`: no sealed stream, another kind or key, a wrong tag, cut, with bytes behind the trailer, or with data
///   inside that cannot be decompressed.
public func unseal(
    _ kind: Envelope.Kind, under key: Key, from input: borrowing Descriptor, behind front: [UInt8] = [],
    to output: borrowing Descriptor, progress: (UInt64) -> Void
) throws {
    input.widenPipe()
    output.widenPipe()
    let place = input.name
    var prefix = [UInt8](repeating: 0, count: Envelope.prefixLength)
    prefix.replaceSubrange(..<front.count, with: front)
    let count = try prefix.withUnsafeMutableBytes {
        try input.readFully(into: .init(rebasing: $0[front.count...]))
    }
    var (chunks, compression) = try open(
        kind, under: key, prefix: prefix.prefix(front.count + count), at: place)
    let decompressor = compression == .zstd ? try Decompressor(at: place) : nil
    func pass(_ bytes: UnsafeRawBufferPointer) throws {
        guard let decompressor else { return try output.write(bytes) }
        try decompressor.add(bytes) { try output.write($0) }
    }

    let chunk = Envelope.chunkLength
    let sealedChunk = chunk + Envelope.tagLength
    let group = 64
    // Behind a full chunk that is not the last come at least an empty last chunk and the trailer.
    let behind = Envelope.tagLength + Envelope.trailerLength
    let sealed = UnsafeMutableRawBufferPointer.allocate(
        byteCount: group * sealedChunk + behind, alignment: 4096)
    // The first place is for the chunk that stays back.
    let plain = UnsafeMutableRawBufferPointer.allocate(byteCount: (group + 1) * chunk, alignment: 4096)
    defer {
        sealed.deallocate()
        plain.deallocate()
    }

    var length = UInt64(Envelope.prefixLength)
    var filled = 0
    var held = 0
    while true {
        let fresh = try input.read(into: .init(rebasing: sealed[filled...]))
        if fresh == 0 { break }
        filled += fresh
        length += UInt64(fresh)
        progress(length)

        let whole = max(0, (filled - behind) / sealedChunk)
        if whole == 0 { continue }
        for index in 0..<whole {
            try chunks.open(
                .init(rebasing: sealed[index * sealedChunk..<(index + 1) * sealedChunk]),
                into: .init(rebasing: plain[held + index * chunk..<held + (index + 1) * chunk]), at: place)
        }
        let ready = held + (whole - 1) * chunk
        try pass(.init(rebasing: plain[..<ready]))
        plain.copyMemory(from: .init(rebasing: plain[ready..<(ready + chunk)]))
        held = chunk
        let rest = whole * sealedChunk
        sealed.copyMemory(from: .init(rebasing: sealed[rest..<filled]))
        filled -= rest
    }

    let last = filled - Envelope.trailerLength
    guard last >= Envelope.tagLength else { throw cut(at: length, of: place) }
    try Envelope.check(tail: Array(sealed[last..<filled]), length: length, at: place)
    guard last < sealedChunk else { throw cut(at: length, of: place) }
    let lastPlain = last - Envelope.tagLength
    try chunks.open(
        .init(rebasing: sealed[..<last]), into: .init(rebasing: plain[held..<(held + lastPlain)]), at: place)
    try pass(.init(rebasing: plain[..<(held + lastPlain)]))
    try decompressor?.finish { try output.write($0) }
}

/// Opens a whole sealed stream that is in memory; never a blob.
///
/// - Throws: as the other one.
func unseal(_ kind: Envelope.Kind, under key: Key, _ sealed: [UInt8], at place: String) throws -> [UInt8] {
    var (chunks, _) = try open(kind, under: key, prefix: sealed.prefix(Envelope.prefixLength), at: place)
    try Envelope.check(
        tail: Array(sealed.suffix(Envelope.trailerLength)), length: UInt64(sealed.count), at: place)
    var plain: [UInt8] = []
    var rest = sealed.dropFirst(Envelope.prefixLength).dropLast(Envelope.trailerLength)
    let step = Envelope.chunkLength + Envelope.tagLength
    repeat {
        let chunk = rest.prefix(step)
        guard chunk.count >= Envelope.tagLength else { throw cut(at: UInt64(sealed.count), of: place) }
        rest = rest.dropFirst(step)
        let start = plain.count
        plain += [UInt8](repeating: 0, count: chunk.count - Envelope.tagLength)
        try plain.withUnsafeMutableBytes { plain in
            try Array(chunk).withUnsafeBytes {
                try chunks.open($0, into: .init(rebasing: plain[start...]), at: place)
            }
        }
        // A full chunk is never the last.
        if rest.isEmpty, chunk.count == step { throw cut(at: UInt64(sealed.count), of: place) }
    } while !rest.isEmpty
    return plain
}

/// Checks header, salt and commitment: whether kind and key are the right ones.
private func open(
    _ kind: Envelope.Kind, under key: Key, prefix: ArraySlice<UInt8>, at place: String
) throws -> (Chunks, Envelope.Compression) {
    let prefix = Array(prefix)
    let header = try Envelope.Header(parsing: Array(prefix.prefix(Envelope.headerLength)), at: place)
    try header.require(kind, at: place)
    guard prefix.count == Envelope.prefixLength else { throw cut(at: UInt64(prefix.count), of: place) }
    let id = try key.id()
    guard header.keyID == id else {
        throw Failure(
            .badData, "sealed with another key: its id is \(header.keyID.hex), this key's is \(id.hex)",
            at: place)
    }
    let salt = Array(prefix[Envelope.headerLength..<(Envelope.headerLength + Envelope.saltLength)])
    let chunks = try Chunks(.open, inputKey: key.inputKey(of: kind), header: header, salt: salt)
    guard chunks.isCommitted(to: prefix[(Envelope.headerLength + Envelope.saltLength)...]) else {
        throw Failure(
            .badData, "wrong salt or commitment: damaged or tampered with",
            at: place)
    }
    return (chunks, header.compression)
}

private func cut(at offset: UInt64, of place: String) -> Failure {
    Failure(
        .badData, "the sealed stream is truncated", at: "\(place), byte \(offset)",
        hint: "the previous stage may have failed; see its message")
}
