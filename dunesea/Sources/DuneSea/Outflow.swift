import DurableFiles
import Glibc
import NIOCore
import NIOHTTP1
import NIOHTTPTypesHTTP1
import Plumbing

/// A blob on its way out: from the disk in pieces, one of which is made ready while the one before goes to the client.
///
/// Without TLS the kernel takes a piece from its cache of the file straight to the socket, sendfile(2). What is made
/// ready then is that cache, on a disk thread, so that the event loop never waits for the disk.
struct Outflow {
    let file: File
    let range: Range<UInt64>
    let ground: Ground
    let channel: any Channel
    /// The connection has no TLS.
    let plain: Bool

    /// Without TLS a piece costs no memory.
    private var longest: UInt64 { plain ? 4 << 20 : 256 << 10 }

    /// Sends that part of the file; returns when the socket has taken the last of it.
    ///
    /// - Parameter sent: hears how much each piece was.
    /// - Throws: `Failure`, also where the file is shorter: then the client sees the body end early.
    func send(_ sent: (Int) -> Void) async throws {
        // Closed when no write is under way any more.
        let handle = try plain ? NIOFileHandle(_deprecatedTakingOwnershipOfDescriptor: file.duplicate()) : nil
        defer { try? handle?.close() }
        var start = range.lowerBound
        var current = try await piece(from: start, handle)
        while start < range.upperBound {
            start += UInt64(current.readableBytes)
            let next = start
            async let ahead = piece(from: next, handle)
            try await channel.triggerUserOutboundEvent(BodyPiece(data: current)).get()
            sent(current.readableBytes)
            current = try await ahead
        }
    }

    private func piece(from start: UInt64, _ handle: NIOFileHandle?) async throws -> IOData {
        let end = start + min(longest, range.upperBound - start)
        return try await ground.onDisk {
            guard let handle else {
                var buffer = ByteBuffer()
                let count = Int(clamping: end - start)
                let got = try buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: count) {
                    try file.read(into: .init(rebasing: $0.prefix(count)), at: start)
                }
                guard got == count else { throw file.isShorter }
                return .byteBuffer(buffer)
            }
            try file.load(start..<end)
            return .fileRegion(
                FileRegion(
                    fileHandle: handle, readerIndex: Int(clamping: start), endIndex: Int(clamping: end)))
        }
    }
}

/// A part of a body, to be sent by `BodyPieces`.
struct BodyPiece: Sendable {
    let data: IOData
}

/// Sends pieces of a body below HTTP's own types, which know no part of a file.
final class BodyPieces: ChannelOutboundHandler, RemovableChannelHandler {
    typealias OutboundIn = Never

    func triggerUserOutboundEvent(
        context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?
    ) {
        guard let piece = event as? BodyPiece else {
            return context.triggerUserOutboundEvent(event, promise: promise)
        }
        do {
            let codec = try context.pipeline.syncOperations.context(handlerType: HTTP1ToHTTPServerCodec.self)
            codec.writeAndFlush(NIOAny(HTTPServerResponsePart.body(piece.data)), promise: promise)
        } catch {
            promise?.fail(error)
        }
    }
}

extension File {
    /// Brings a part of the file into the kernel's cache of it.
    fileprivate func load(_ range: Range<UInt64>) throws {
        // As much as the kernel reads ahead at once. It is asked for all of it first, then waited for.
        let step: UInt64 = 128 << 10
        let starts = stride(from: range.lowerBound, to: range.upperBound, by: Int(step))
        for start in starts {
            posix_fadvise(number, off_t(clamping: start), off_t(clamping: step), POSIX_FADV_WILLNEED)
        }
        for start in starts {
            guard try read(at: min(start + step, range.upperBound) - 1, count: 1).count == 1 else {
                throw isShorter
            }
        }
    }

    /// A descriptor of its own for the same file, which the caller closes.
    fileprivate func duplicate() throws -> Int32 {
        let copy = fcntl(number, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0 else { throw Failure.system("cannot open", at: name) }
        return copy
    }
}
