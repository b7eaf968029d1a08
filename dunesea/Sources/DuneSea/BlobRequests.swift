import DuneSeaProtocol
import HTTPTypes
import Hummingbird
import NIOCore
import Plumbing
import StoreFormat

/// Uploads and blobs.
extension API {
    func open(_ shelf: Shelf, reporting: Bool) async throws -> Response {
        let upload = try await shelf.open()
        var headers: HTTPFields = [
            .location: Resource.upload(upload.id).path(in: shelf.domain), .uploadOffset: "0",
            .contentType: "text/plain; charset=utf-8",
        ]
        if reporting { headers[.uploadProgress] = DuneSeaProtocol.yes }
        return Response(
            status: .created, headers: headers,
            body: .init(byteBuffer: ByteBuffer(string: "\(upload.id)\n")))
    }

    func acknowledge(_ upload: Upload) async throws -> Response {
        let offset = try await upload.acknowledged()
        return Response(status: .noContent, headers: [.uploadOffset: "\(offset)", .cacheControl: "no-store"])
    }

    func append(_ request: Request, to upload: Upload, _ context: Connection) async throws -> Response {
        guard let start = request.headers[.uploadOffset].flatMap(number) else {
            throw Refusal(.badRequest, "Upload-Offset must state where the bytes go")
        }
        let announced = request.headers[.contentLength].flatMap(number)
        let hold = try await upload.take(at: start, announced: announced)
        let body = try await context.channel.pipeline.handler(type: Inflow.self).get()
        try await context.goOn(request)

        let reports = request.wantsProgress
        let end = announced.map { start &+ $0 }
        var reported = start
        while let piece = try await body.next() {
            metrics.received(piece.reduce(0) { $0 + $1.readableBytes })
            try await upload.append(piece, holding: hold)
            // Of the last bytes the answer tells.
            if reports, upload.offset - reported >= API.step, upload.offset != end {
                reported = upload.offset
                context.report(reported)
            }
        }
        return Response(status: .noContent, headers: [.uploadOffset: "\(upload.offset)"])
    }

    func finish(_ request: Request, _ address: Address, on shelf: Shelf) async throws -> Response {
        guard let length = request.query(.length).flatMap(number), let id = request.query(.upload) else {
            throw Refusal(.badRequest, "?upload=ID&length=BYTES must state which upload this ends")
        }
        let location: HTTPFields = [.location: Resource.blob(address.hex).path(in: shelf.domain)]
        let upload: Upload
        do {
            upload = try shelf.upload(id)
        } catch {
            // The answer to the first time may have been lost.
            guard let there = try await shelf.size(ofBlob: address) else { throw error }
            guard there == length else { throw Shelf.otherLength(there) }
            return Response(status: .ok, headers: location)
        }
        let new = try await upload.finish(length: length, address: address)
        return Response(status: new ? .created : .ok, headers: location)
    }

    func blob(
        _ address: Address, of shelf: Shelf, for request: Request, _ context: Connection,
        _ outflow: inout Outflow?
    ) async throws -> Response {
        guard let size = try await shelf.size(ofBlob: address) else {
            throw Refusal(.notFound, "no such blob")
        }
        var headers: HTTPFields = [
            .contentType: "application/octet-stream", .acceptRanges: "bytes", .eTag: "\"\(address)\"",
            .cacheControl: "private, immutable",
        ]
        var range = 0..<size
        var status = HTTPResponse.Status.ok
        if let wanted = request.headers[.range] {
            switch ByteRange.parse(wanted, size: size) {
            case .whole: break
            case .part(let part):
                range = part
                status = .partialContent
                headers[.contentRange] = "bytes \(part.lowerBound)-\(part.upperBound - 1)/\(size)"
            case .unsatisfiable:
                throw Refusal(
                    .rangeNotSatisfiable, "the blob has \(size) bytes",
                    headers: [.contentRange: "bytes */\(size)"])
            }
        }
        headers[.contentLength] = "\(range.count)"
        let response = Response(status: status, headers: headers)
        guard request.method == .get else { return response }
        let file = try await shelf.open(blob: address)
        outflow = Outflow(
            file: file, range: range, ground: store.ground, channel: context.channel, plain: plain)
        return response
    }
}
