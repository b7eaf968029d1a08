import CZstd
import Plumbing

/// Decompresses a stream of zstd frames (RFC 8878), whoever made them, in about 10 MiB of memory at most.
///
/// The last byte stays back until `finish`: before that, nobody sees the end of the data.
public final class Decompressor {
    /// Frames that want a larger window are refused; 8 MiB is what every reader has to have room for (RFC 8878, 3.1.1.1.2).
    private static let longestWindow: Int32 = 23

    private let place: String
    private let context: OpaquePointer
    private let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
    private var filled = 0
    private var isInFrame = true

    /// - Parameter place: what messages call the compressed data.
    public init(at place: String) throws {
        guard let context = ZSTD_createDCtx() else { throw Failure(.bug, "ZSTD_createDCtx failed") }
        self.place = place
        self.context = context
        ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, Decompressor.longestWindow)
    }

    deinit {
        ZSTD_freeDCtx(context)
        room.deallocate()
    }

    /// Takes the next bytes of the compressed data, any number of them, and calls with what they stand for.
    ///
    /// - Throws: `badData` for what is no zstd frame, is damaged, or wants too large a window; what the closure throws.
    public func add(_ bytes: UnsafeRawBufferPointer, _ use: (UnsafeRawBufferPointer) throws -> Void) throws {
        var input = ZSTD_inBuffer(src: bytes.baseAddress, size: bytes.count, pos: 0)
        // A full room says that there may be more of the frame to come, without another byte of input.
        while input.pos < input.size || isInFrame && filled == room.count {
            if filled == room.count { try pass(use) }
            var output = ZSTD_outBuffer(dst: room.baseAddress, size: room.count, pos: filled)
            let wanted = ZSTD_decompressStream(context, &output, &input)
            guard ZSTD_isError(wanted) == 0 else { throw refuse(name(of: wanted)) }
            isInFrame = wanted != 0
            filled = output.pos
        }
        try pass(use)
    }

    /// Nothing more comes.
    ///
    /// - Throws: `badData` in the midst of a frame; what the closure throws.
    public func finish(_ use: (UnsafeRawBufferPointer) throws -> Void) throws {
        guard !isInFrame else { throw refuse("truncated") }
        try use(.init(rebasing: room[..<filled]))
    }

    private func pass(_ use: (UnsafeRawBufferPointer) throws -> Void) throws {
        guard filled > 1 else { return }
        try use(.init(rebasing: room[..<(filled - 1)]))
        room[0] = room[filled - 1]
        filled = 1
    }

    private func refuse(_ what: String) -> Failure {
        Failure(.badData, "cannot decompress the data inside: \(what)", at: place)
    }
}
