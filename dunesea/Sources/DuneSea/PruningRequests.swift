import DuneSeaProtocol
import DurableFiles
import Envelope
import Hummingbird
import NIOCore
import OpenSSL
import Plumbing
import StoreFormat

/// What goes, and what there is room for.
extension API {
    func list(_ shelf: Shelf, for request: Request) async throws -> Response {
        let list = try await BlobEntry.text(of: shelf.list())
        metrics.sent(list.utf8.count)
        return text(.ok, list, for: request)
    }

    func discard(_ request: Request, on shelf: Shelf, _ context: Connection) async throws -> Response {
        let held = try await shelf.discard(addresses(in: request, context))
        return text(.ok, "\(held)\n", for: request)
    }

    func recover(_ request: Request, on shelf: Shelf, _ context: Connection) async throws -> Response {
        try await shelf.recover(addresses(in: request, context))
        return text(.ok, "0\n", for: request)
    }

    /// The addresses in a body, one a line.
    private func addresses(in request: Request, _ context: Connection) async throws -> [Address] {
        let most = DuneSeaProtocol.mostMoved
        let bytes = try await body(of: request, "a list of \(most) blobs", atMost: most * 65, context)
        return try bytes.split(separator: UInt8(ascii: "\n")).map {
            try address(String(decoding: $0, as: UTF8.self))
        }
    }

    func keep(pruning request: Request, _ address: Address, on shelf: Shelf, _ context: Connection)
        async throws -> Response
    {
        let pruning = try await sealed(.pruning, request, atMost: StoreLimits.document, context)
        let digest = try Digest.hex(.sha256, of: pruning)
        guard digest == address.description else { throw Shelf.otherDigest(digest, than: address) }
        let new = try await shelf.keep(pruning: pruning, of: address)
        return Response(status: new ? .created : .ok)
    }

    func prunings(of shelf: Shelf, for request: Request) async throws -> Response {
        let prunings = try await shelf.prunings(fault)
        var bytes = ByteBuffer()
        for (address, pruning) in prunings {
            // One that does not open stands for what is not there or is too short.
            var shown = pruning ?? []
            if shown.count < Envelope.minimumLength {
                shown = [UInt8](repeating: 0, count: Envelope.minimumLength)
            }
            bytes.writeBytes(Series.bytes(of: .pruning(address: address.bytes, length: shown.count)) + shown)
        }
        bytes.writeBytes(Series.bytes(of: .end(count: UInt64(prunings.count))))
        return newest(Array(bytes.readableBytesView), [:], for: request)
    }

    /// What the quota and the disk have room for, whichever is less.
    func room(on shelf: Shelf, for request: Request) async throws -> Response {
        let stored = store.ground.places.stored
        let free = try await store.ground.onDisk { try stored.freeSpace() }
        return text(.ok, "\(min(free, shelf.room ?? free))\n", for: request)
    }
}
