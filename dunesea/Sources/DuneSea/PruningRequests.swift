import DuneSeaProtocol
import DurableFiles
import Envelope
import Hummingbird
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

    /// Every record, as a series.
    func prunings(of shelf: Shelf, for request: Request) -> Response {
        series(of: shelf.prunings, for: request) { entry in
            var record: [UInt8] = []
            do { record = try await shelf.pruning(entry) } catch let failure as Failure { fault(failure) }
            if record.count < Envelope.minimumLength { record = Series.unopenable }
            return Series.bytes(of: .pruning(address: entry.address.bytes, length: record.count)) + record
        }
    }

    /// What the quota and the disk have room for, whichever is less.
    func room(on shelf: Shelf, for request: Request) async throws -> Response {
        let stored = store.ground.places.stored
        let free = try await store.ground.onDisk { try stored.freeSpace() }
        return text(.ok, "\(min(free, shelf.room ?? free))\n", for: request)
    }
}
