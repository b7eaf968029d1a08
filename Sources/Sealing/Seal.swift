public import Envelope
import OpenSSL
public import Plumbing

/// Seals a stream of any length, in about 2 MiB of memory.
///
/// The final chunk and the trailer, without which nobody takes the stream for whole, are written only when `confirm`
/// has returned.
///
/// - Parameters:
///   - inspect: sees every plaintext byte once, in order, before it is sealed; an error ends the stream without its tail.
///   - confirm: called at the end of the input.
/// - Throws: what the descriptors, `inspect` and `confirm` throw; `badData` for an empty input.
public func seal(
    _ kind: Envelope.Kind, under key: Key, from input: borrowing Descriptor, to output: borrowing Descriptor,
    inspect: (UnsafeRawBufferPointer) throws -> Void, confirm: () throws -> Void
) throws {
    let header = Envelope.Header(kind: kind, keyID: try key.id())
    let salt = try randomBytes(count: Envelope.saltLength)
    var chunks = try Chunks(.seal, inputKey: key.inputKey(of: kind), header: header, salt: salt)
    input.widenPipe()
    output.widenPipe()

    let chunk = Envelope.chunkLength
    let sealedChunk = chunk + Envelope.tagLength
    let group = 64
    let plain = UnsafeMutableRawBufferPointer.allocate(byteCount: group * chunk, alignment: 4096)
    let sealed = UnsafeMutableRawBufferPointer.allocate(byteCount: group * sealedChunk, alignment: 4096)
    defer {
        plain.deallocate()
        sealed.deallocate()
    }

    // Nothing leaves before something came: the seal of nothing would look like a backup.
    var filled = try input.read(into: plain)
    guard filled > 0 else {
        throw Failure(
            .badData, "empty input", at: input.name,
            hint: "the previous stage may have failed; see its message")
    }
    try output.write(header.bytes + salt + chunks.commitment)
    var length = UInt64(Envelope.prefixLength)
    var fresh = filled
    while fresh > 0 {
        try inspect(.init(rebasing: plain[(filled - fresh)..<filled]))
        let whole = filled / chunk
        for index in 0..<whole {
            try chunks.seal(
                .init(rebasing: plain[index * chunk..<(index + 1) * chunk]),
                into: .init(rebasing: sealed[index * sealedChunk..<(index + 1) * sealedChunk]))
        }
        try output.write(.init(rebasing: sealed[..<(whole * sealedChunk)]))
        length += UInt64(whole * sealedChunk)

        let rest = filled - whole * chunk
        plain.copyMemory(from: .init(rebasing: plain[(whole * chunk)..<filled]))
        fresh = try input.read(into: .init(rebasing: plain[rest...]))
        filled = rest + fresh
    }
    try confirm()

    let last = filled + Envelope.tagLength
    try chunks.seal(.init(rebasing: plain[..<filled]), into: .init(rebasing: sealed[..<last]))
    length += UInt64(last + Envelope.trailerLength)
    try output.write(Array(sealed[..<last]) + Envelope.trailer(length: length))
}
