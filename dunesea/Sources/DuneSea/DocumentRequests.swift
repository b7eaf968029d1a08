import DuneSeaProtocol
import Envelope
import HTTPTypes
import Hummingbird
import NIOCore
import OpenSSL
import Plumbing
import StoreFormat

/// Metadata and keys.
extension API {
    func advance(_ request: Request, _ blob: Address, on shelf: Shelf, _ context: Connection)
        async throws
        -> Response
    {
        guard let follows = request.query(.follows) else {
            throw Refusal(.badRequest, "?follows=SHA256 must state which head this one follows, or none")
        }
        guard let parent = request.query(.parent) else {
            throw Refusal(.badRequest, "&parent=SHA256 must state which backup this one builds on, or none")
        }
        let (head, base) = try (addressOrNone(follows), addressOrNone(parent))
        let document = try await sealed(
            .metadata, request, atMost: StoreLimits.document, context)
        let new = try await shelf.advance(to: blob, following: head, buildingOn: base, document: document)
        return Response(status: new ? .created : .ok, headers: [.backupBlob: "\(blob)"])
    }

    private func addressOrNone(_ text: String) throws -> Address? {
        text == DuneSeaProtocol.none ? nil : try address(text)
    }

    func document(_ blob: Address?, of shelf: Shelf, for request: Request, none: String) async throws
        -> Response
    {
        guard let blob, let document = try await shelf.document(of: blob) else {
            throw Refusal(.notFound, none)
        }
        return newest(document, [.backupBlob: "\(blob)"], for: request)
    }

    /// Every document that the shelf has now, as a series; one that the disk does not give is marked in it.
    func history(_ request: Request, of shelf: Shelf) throws -> Response {
        var blobs = shelf.blobs
        guard !blobs.isEmpty else { throw Refusal(.notFound, "no backup yet") }
        switch request.query(.order) {
        case nil: break
        case DuneSeaProtocol.newestFirst: blobs.reverse()
        case .some:
            throw Refusal(.badRequest, "?order= must be \(DuneSeaProtocol.newestFirst), or be left out")
        }
        if let after = try request.query(.after).map(address) {
            guard let index = blobs.firstIndex(of: after) else {
                throw Refusal(.notFound, "no backup with this blob")
            }
            blobs.removeFirst(index + 1)
        }
        return series(of: blobs, for: request) { try await item(of: $0, on: shelf) }
    }

    /// A series with an item for each of these, one of which is in memory at a time.
    func series<Element: Sendable>(
        of elements: [Element], for request: Request,
        _ item: @escaping @Sendable (Element) async throws -> [UInt8]
    ) -> Response {
        let headers: HTTPFields = [.contentType: "application/octet-stream", .cacheControl: "no-store"]
        guard request.method == .get else { return Response(status: .ok, headers: headers) }
        return Response(
            status: .ok, headers: headers,
            body: ResponseBody { writer in
                var piece = ByteBuffer()
                func send() async throws {
                    metrics.sent(piece.readableBytes)
                    try await writer.write(piece)
                    piece.clear()
                }
                for element in elements {
                    piece.writeBytes(try await item(element))
                    if piece.readableBytes >= API.seriesPiece { try await send() }
                }
                piece.writeBytes(Series.bytes(of: .end(count: UInt64(elements.count))))
                try await send()
                try await writer.finish(nil)
            })
    }

    /// In bytes; a document may be longer.
    private static let seriesPiece = 64 << 10

    private func item(of blob: Address, on shelf: Shelf) async throws -> [UInt8] {
        do {
            guard let document = try await shelf.document(of: blob) else {
                return Series.bytes(of: .missing(address: blob.bytes, status: .io))
            }
            guard document.count >= Envelope.minimumLength else {
                return Series.bytes(of: .missing(address: blob.bytes, status: .badData))
            }
            return Series.bytes(of: .document(address: blob.bytes, length: document.count)) + document
        } catch let failure as Failure {
            fault(failure)
            return Series.bytes(of: .missing(address: blob.bytes, status: .io))
        }
    }

    /// Keeps a small sealed object under its own SHA-256.
    func keep(
        _ kind: Envelope.Kind, _ request: Request, _ address: Address, atMost limit: Int,
        _ context: Connection,
        _ keep: ([UInt8]) async throws -> Bool
    ) async throws -> Response {
        let bytes = try await sealed(kind, request, atMost: limit, context)
        let digest = try Digest.hex(.sha256, of: bytes)
        guard digest == address.description else { throw Shelf.otherDigest(digest, than: address) }
        return Response(status: try await keep(bytes) ? .created : .ok)
    }

    func lastKey(of shelf: Shelf, for request: Request) async throws -> Response {
        guard let key = try await shelf.lastKey() else { throw Refusal(.notFound, "no key yet") }
        return newest(key.bytes, [.eTag: "\"\(key.address)\""], for: request)
    }

    /// The body of a request, if it is a whole sealed stream of that kind.
    private func sealed(
        _ kind: Envelope.Kind, _ request: Request, atMost limit: Int, _ context: Connection
    ) async throws -> [UInt8] {
        let bytes = try await body(of: request, "sealed \(kind)", atMost: limit, context)
        try Refusal.unlessWhole { try Framing.check(bytes, kind, at: "body") }
        return bytes
    }

    /// All of a body.
    ///
    /// - Parameter what: it should be.
    func body(of request: Request, _ what: String, atMost limit: Int, _ context: Connection) async throws
        -> [UInt8]
    {
        let tooLong = Refusal(.contentTooLarge, "\(what) has at most \(limit) bytes")
        if let announced = request.headers[.contentLength].flatMap(number), announced > limit {
            throw tooLong
        }
        try await context.goOn(request)
        var bytes: [UInt8] = []
        for try await part in request.body {
            guard bytes.count + part.readableBytes <= limit else { throw tooLong }
            bytes.append(contentsOf: part.readableBytesView)
        }
        metrics.received(bytes.count)
        return bytes
    }

    /// What may be another the next time.
    private func newest(_ bytes: [UInt8], _ fields: HTTPFields, for request: Request) -> Response {
        var headers = fields
        headers[.contentType] = "application/octet-stream"
        headers[.cacheControl] = "no-store"
        headers[.contentLength] = "\(bytes.count)"
        guard request.method == .get else { return Response(status: .ok, headers: headers) }
        metrics.sent(bytes.count)
        return Response(status: .ok, headers: headers, body: .init(byteBuffer: ByteBuffer(bytes: bytes)))
    }
}
