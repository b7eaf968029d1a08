public import Envelope
import OpenSSL
public import Plumbing
import Zstandard

/// Seals a stream of any length, in about 2 MiB of memory, and 10 to 16 more with compression.
///
/// The final chunk and the trailer, without which nobody takes the stream for whole, are written only when `confirm`
/// has returned.
///
/// - Parameters:
///   - level: how hard zstd works, 1 to 19; nil for no compression, and for any kind but blob.
///   - inspect: sees every plaintext byte once, in order, before it is sealed; an error ends the stream without its tail.
///   - confirm: called at the end of the input, with the count of bytes that it was compressed to, nil without compression.
/// - Throws: what the descriptors, `inspect` and `confirm` throw; `badData` for an empty input.
public func seal(
    _ kind: Envelope.Kind, under key: Key, compressing level: Int? = nil, from input: borrowing Descriptor,
    to output: borrowing Descriptor, inspect: (UnsafeRawBufferPointer) throws -> Void,
    confirm: (_ compressed: UInt64?) throws -> Void
) throws {
    var sealer = try Sealer(
        .init(kind: kind, keyID: try key.id(), compression: level == nil ? .none : .zstd), under: key)
    input.widenPipe()
    output.widenPipe()
    // Nothing leaves before something came: the seal of nothing would look like a backup.
    var isEmpty = true
    func inspectAny(_ bytes: UnsafeRawBufferPointer) throws {
        guard !bytes.isEmpty || !isEmpty else {
            throw Failure(
                .badData, "empty input", at: input.name,
                hint: "the previous stage may have failed; see its message")
        }
        isEmpty = false
        try inspect(bytes)
    }

    guard let level else {
        var count = 0
        repeat {
            count = try input.read(into: sealer.room)
            try inspectAny(.init(rebasing: sealer.room[..<count]))
            try sealer.seal(count, to: output)
        } while count > 0
        try confirm(nil)
        return try sealer.finish(to: output)
    }

    let compressor = try Compressor(level: level)
    defer { compressor.end() }
    var isOver = false
    var compressed: UInt64 = 0
    repeat {
        while !isOver, let room = compressor.room {
            let count = try input.readFully(into: room)
            try inspectAny(.init(rebasing: room[..<count]))
            isOver = count < room.count
            if count > 0 { compressor.submit(count) }
        }
    } while try compressor.take { frame in
        compressed += UInt64(frame.count)
        try sealer.seal(frame, to: output)
    }
    try confirm(compressed)
    try sealer.finish(to: output)
}

/// Makes the chunks of a sealed stream, and writes them behind its prefix.
private struct Sealer: ~Copyable {
    private static let group = 64
    private static let sealedChunk = Envelope.chunkLength + Envelope.tagLength

    private let prefix: [UInt8]
    private var chunks: Chunks
    private let plain = UnsafeMutableRawBufferPointer.allocate(
        byteCount: group * Envelope.chunkLength, alignment: 4096)
    private let sealed = UnsafeMutableRawBufferPointer.allocate(
        byteCount: group * sealedChunk, alignment: 4096)
    private var filled = 0
    private var length: UInt64 = 0

    init(_ header: Envelope.Header, under key: Key) throws {
        let salt = try randomBytes(count: Envelope.saltLength)
        chunks = try Chunks(.seal, inputKey: key.inputKey(of: header.kind), header: header, salt: salt)
        prefix = header.bytes + salt + chunks.commitment
    }

    deinit {
        plain.deallocate()
        sealed.deallocate()
    }

    /// Where the next plaintext bytes go; never empty.
    var room: UnsafeMutableRawBufferPointer { .init(rebasing: plain[filled...]) }

    /// Takes the first `count` bytes of `room`, and seals what makes whole chunks.
    mutating func seal(_ count: Int, to output: borrowing Descriptor) throws {
        if length == 0 {
            try output.write(prefix)
            length = UInt64(prefix.count)
        }
        filled += count
        let whole = filled / Envelope.chunkLength
        guard whole > 0 else { return }
        for index in 0..<whole {
            try chunks.seal(
                .init(rebasing: plain[index * Envelope.chunkLength..<(index + 1) * Envelope.chunkLength]),
                into: .init(rebasing: sealed[index * Sealer.sealedChunk..<(index + 1) * Sealer.sealedChunk]))
        }
        try output.write(.init(rebasing: sealed[..<(whole * Sealer.sealedChunk)]))
        length += UInt64(whole * Sealer.sealedChunk)
        plain.copyMemory(from: .init(rebasing: plain[(whole * Envelope.chunkLength)..<filled]))
        filled -= whole * Envelope.chunkLength
    }

    /// The same for bytes that are elsewhere.
    mutating func seal(_ bytes: UnsafeRawBufferPointer, to output: borrowing Descriptor) throws {
        var rest = bytes
        while !rest.isEmpty {
            let count = min(rest.count, room.count)
            room.copyMemory(from: .init(rebasing: rest[..<count]))
            try seal(count, to: output)
            rest = .init(rebasing: rest[count...])
        }
    }

    /// Writes the last chunk and the trailer.
    mutating func finish(to output: borrowing Descriptor) throws {
        let last = filled + Envelope.tagLength
        try chunks.seal(.init(rebasing: plain[..<filled]), into: .init(rebasing: sealed[..<last]))
        length += UInt64(last + Envelope.trailerLength)
        try output.write(Array(sealed[..<last]) + Envelope.trailer(length: length))
    }
}
