import Envelope
import Glibc
import HTTPTypes
public import Hummingbird
import Logging
import NIOCore
import NIOHTTPTypes
import OpenSSL
import Plumbing

/// Where a request came in.
public struct Connection: InitializableFromSource, Sendable {
    let channel: any Channel

    public init(source: ApplicationRequestContextSource) {
        channel = source.channel
    }
}

/// The protocol of `dunesea-protocol(7)`: each request is one call of the store.
public struct API: HTTPResponder {
    let store: Store
    let doorkeeper: Doorkeeper
    let metrics: Metrics
    let strangers: Strangers
    /// The listener has no TLS.
    let plain: Bool
    let log: @Sendable (String) -> Void

    /// Bytes between the socket and the disk: two such pieces an upload, one being filled, one being written.
    static let piece = 512 << 10
    /// Bytes between two acknowledgements in the middle of a request, at least.
    static let step: UInt64 = 256 << 10

    public func respond(to request: Request, context: Connection) async throws -> Response {
        let visit = Visit(request, context)
        var outflow: Outflow?
        var response: Response
        do {
            response = try await route(request, context, &outflow)
        } catch let refusal as Refusal {
            response = answer(refusal)
        } catch let error as DiskError {
            fault(error)
            response = answer(refusal(of: error))
        } catch let failure as Failure {
            log("error: \(failure.what): \(failure.place ?? "")")
            response = answer(
                Refusal(.internalServerError, "the server is at fault", hint: "its log says more"))
        } catch {
            // The connection broke while the request came in.
            log(visit.line("cut"))
            throw error
        }
        response.headers[.duneSea] = "1"
        let status = response.status.code
        if response.status == .noContent { response.headers[.contentLength] = nil }
        // Whoever is refused may still be sending: let it read why, then part.
        if status >= 400, request.hasBody { response.headers[.connection] = "close" }
        metrics.answered(request.method.rawValue, status)
        if let outflow {
            response.body = body(outflow) { log(visit.line($0 ? "\(status)" : "cut")) }
        } else {
            log(visit.line("\(status)"))
        }
        return response
    }

    private func body(_ outflow: Outflow, _ ended: @escaping @Sendable (_ whole: Bool) -> Void)
        -> ResponseBody
    {
        ResponseBody(contentLength: outflow.range.count) { writer in
            do {
                try await outflow.send(metrics.sent)
                try await writer.finish(nil)
                ended(true)
            } catch {
                if let error = error as? DiskError { fault(error) }
                ended(false)
                throw error
            }
        }
    }

    private func fault(_ error: DiskError) {
        metrics.faulted()
        log("error: \(error.failure.what): \(error.path)")
    }

    /// Nothing of a path is decoded: what is not exactly one of these is not found.
    ///
    /// - Parameter outflow: becomes what the body is to be, where it is a blob.
    private func route(_ request: Request, _ context: Connection, _ outflow: inout Outflow?) async throws
        -> Response
    {
        let path = request.uri.path.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
        if path.elementsEqual(["healthz"]), request.method == .get || request.method == .head {
            guard await store.isThere() else {
                throw Refusal(.serviceUnavailable, "the store does not answer")
            }
            return text(.ok, "ok\n", for: request)
        }
        guard path.count >= 3, path.first == "v1" else { throw unknown }
        let domain = try await enter(path[2], request)
        strangers.leave(context.channel)
        let shelf = store.shelf(domain.name)
        let rest = path.dropFirst(2)

        func may(_ rights: Tokens.Rights) throws {
            guard domain.rights.contains(rights) else {
                throw Refusal(.forbidden, "this token may not \(rights) in \(domain.name)")
            }
        }

        switch (request.method, rest.count, rest.first) {
        case (.post, 1, "uploads"):
            try may(.append)
            return try await open(shelf, reporting: request.wantsProgress)
        case (.head, 2, "uploads"):
            try may(.append)
            return try await acknowledge(shelf.upload(id(rest)))
        case (.patch, 2, "uploads"):
            try may(.append)
            return try await append(request, to: shelf.upload(id(rest)), context)
        case (.delete, 2, "uploads"):
            try may(.append)
            try await shelf.upload(id(rest)).abandon()
            return Response(status: .noContent)
        case (.put, 2, "blobs"):
            try may(.append)
            return try await finish(request, address(rest), on: shelf)
        case (.get, 2, "blobs"), (.head, 2, "blobs"):
            try may(.read)
            return try await blob(address(rest), of: shelf, for: request, context, &outflow)
        case (.put, 2, "metadata"):
            try may(.append)
            return try await advance(request, address(rest), on: shelf, context)
        case (.get, 2, "metadata"), (.head, 2, "metadata"):
            try may(.read)
            switch rest.last {
            case "last": return try await document(shelf.last, of: shelf, for: request, none: "no backup yet")
            case "next":
                let after = try request.query("after").map(parse)
                return try await document(
                    shelf.next(after: after), of: shelf, for: request,
                    none: after == nil ? "no backup yet" : "no backup after that one")
            default: throw unknown
            }
        case (.put, 2, "keys"):
            try may(.append)
            return try await keep(request, address(rest), on: shelf, context)
        case (.get, 2, "keys"), (.head, 2, "keys"):
            try may(.read)
            guard rest.last == "last" else { throw unknown }
            return try await lastKey(of: shelf, for: request)
        case (_, 2, "blobs"), (_, 2, "metadata"), (_, 2, "keys"), (_, 1, "uploads"), (_, 2, "uploads"):
            throw Refusal(
                .methodNotAllowed, "\(request.method.rawValue) is not for this",
                hint: "what is stored is never changed nor removed")
        default: throw unknown
        }
    }

    private var unknown: Refusal { Refusal(.notFound, "no such address", hint: "see dunesea-protocol(7)") }

    private func id(_ path: ArraySlice<Substring>) -> String { path.last.map(String.init) ?? "" }

    private func address(_ path: ArraySlice<Substring>) throws -> Address { try parse(path.last ?? "") }

    private func parse(_ text: some StringProtocol) throws -> Address {
        guard let address = Address(text) else {
            throw Refusal(.badRequest, "an address is 64 digits of lower-case hex")
        }
        return address
    }
}

// MARK: - The door

extension API {
    /// Finds out what the request may do, before it learns anything else. A token that is missing, wrong or another domain's
    /// gets the same answer, whether there is such a domain or not.
    private func enter(_ name: Substring, _ request: Request) async throws -> (
        name: Domain, rights: Tokens.Rights
    ) {
        guard let domain = Domain(name) else {
            throw Refusal(
                .badRequest, "a domain is 1 to 253 of a-z 0-9 . _ -, not starting with a dot")
        }
        let doorkeeper = doorkeeper
        let tokens = try await store.ground.onDisk { try doorkeeper.current() }
        let scheme = "bearer "
        guard let given = request.headers[.authorization], given.lowercased().hasPrefix(scheme),
            let rights = tokens.rights(of: String(given.dropFirst(scheme.count)), in: domain)
        else {
            throw Refusal(
                .unauthorized, "no token that opens this domain",
                hint: "send Authorization: Bearer TOKEN; dunesea token add makes one",
                headers: [.wwwAuthenticate: "Bearer"])
        }
        return (domain, rights)
    }
}

// MARK: - Uploads and blobs

extension API {
    private func open(_ shelf: Shelf, reporting: Bool) async throws -> Response {
        let upload = try await shelf.open()
        var headers: HTTPFields = [
            .location: "/v1/\(shelf.domain)/uploads/\(upload.id)", .uploadOffset: "0",
            .contentType: "text/plain; charset=utf-8",
        ]
        if reporting { headers[.uploadProgress] = "?1" }
        return Response(
            status: .created, headers: headers,
            body: .init(byteBuffer: ByteBuffer(string: "\(upload.id)\n")))
    }

    private func acknowledge(_ upload: Upload) async throws -> Response {
        let offset = try await upload.acknowledged()
        return Response(status: .noContent, headers: [.uploadOffset: "\(offset)", .cacheControl: "no-store"])
    }

    private func append(_ request: Request, to upload: Upload, _ context: Connection) async throws -> Response
    {
        guard let start = request.headers[.uploadOffset].flatMap(number) else {
            throw Refusal(.badRequest, "Upload-Offset has to say where the bytes go")
        }
        let announced = request.headers[.contentLength].flatMap(number)
        let hold = try await upload.take(at: start, announced: announced)
        try await context.goOn(request)

        let reports = request.wantsProgress
        var reported = start
        var filling = ByteBuffer()
        filling.reserveCapacity(API.piece)
        var writing: Task<ByteBuffer, any Error>?
        /// Returns a buffer to fill: two of them take turns.
        func pass(_ piece: ByteBuffer) async throws -> ByteBuffer {
            // The socket is read again only when the piece before is on its way to the disk: that is the back-pressure.
            var free = try await writing?.value ?? ByteBuffer()
            if reports, upload.offset - reported >= API.step {
                reported = upload.offset
                context.report(reported)
            }
            metrics.received(piece.readableBytes)
            writing = Task {
                try await upload.append(piece, holding: hold)
                return piece
            }
            free.clear(minimumCapacity: API.piece)
            return free
        }
        do {
            for try await var part in request.body {
                filling.writeBuffer(&part)
                // The socket is read 64 KiB at a time; one more part might not fit.
                if filling.readableBytes > API.piece - (64 << 10) {
                    filling = try await pass(filling)
                }
            }
        } catch let error where !(error is Refusal || error is DiskError) {
            // The connection broke: what came is kept, as far as the upload is still ours.
            _ = try? await pass(filling)
            _ = try? await writing?.value
            throw error
        }
        if filling.readableBytes > 0 { _ = try await pass(filling) }
        _ = try await writing?.value
        return Response(status: .noContent, headers: [.uploadOffset: "\(upload.offset)"])
    }

    private func finish(_ request: Request, _ address: Address, on shelf: Shelf) async throws -> Response {
        guard let length = request.query("length").flatMap(number), let id = request.query("upload") else {
            throw Refusal(.badRequest, "?upload=ID&length=BYTES has to say which upload this is the end of")
        }
        let location: HTTPFields = [.location: "/v1/\(shelf.domain)/blobs/\(address)"]
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

    private func blob(
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
        let path = shelf.path(ofBlob: address)
        let file = try await store.ground.onDisk { try File(path, O_RDONLY) }
        outflow = Outflow(
            file: file, range: range, ground: store.ground, channel: context.channel, plain: plain)
        return response
    }
}

// MARK: - Metadata and keys

extension API {
    private func advance(_ request: Request, _ blob: Address, on shelf: Shelf, _ context: Connection)
        async throws
        -> Response
    {
        guard let follows = request.query("follows") else {
            throw Refusal(.badRequest, "?follows=SHA256 has to say which head this one follows, or none")
        }
        let head = follows == "none" ? nil : try parse(follows)
        let document = try await sealed(
            .metadata, request, atMost: Envelope.maximumSealedDocumentLength, context)
        let new = try await shelf.advance(to: blob, following: head, document: document)
        return Response(status: new ? .created : .ok, headers: [.backupBlob: "\(blob)"])
    }

    private func document(_ blob: Address?, of shelf: Shelf, for request: Request, none: String) async throws
        -> Response
    {
        guard let blob, let document = try await shelf.document(of: blob) else {
            throw Refusal(.notFound, none)
        }
        return newest(document, [.backupBlob: "\(blob)"], for: request)
    }

    private func keep(_ request: Request, _ address: Address, on shelf: Shelf, _ context: Connection)
        async throws -> Response
    {
        let key = try await sealed(.key, request, atMost: Shelf.longestKey, context)
        let digest = try Digest.hex(.sha256, of: key)
        guard digest == address.description else { throw Shelf.otherDigest(digest, than: address) }
        let new = try await shelf.keep(key: key, of: address)
        return Response(status: new ? .created : .ok)
    }

    private func lastKey(of shelf: Shelf, for request: Request) async throws -> Response {
        guard let key = try await shelf.lastKey() else { throw Refusal(.notFound, "no key yet") }
        return newest(key.bytes, [.eTag: "\"\(key.address)\""], for: request)
    }

    /// The body of a request, if it is a whole sealed stream of that kind.
    private func sealed(
        _ kind: Envelope.Kind, _ request: Request, atMost limit: Int, _ context: Connection
    ) async throws -> [UInt8] {
        let tooLong = Refusal(.contentTooLarge, "sealed \(kind) has \(limit) bytes at most")
        if let announced = request.headers[.contentLength].flatMap(number), announced > limit {
            throw tooLong
        }
        try await context.goOn(request)
        var bytes: [UInt8] = []
        for try await part in request.body {
            guard bytes.count + part.readableBytes <= limit else { throw tooLong }
            bytes.append(contentsOf: part.readableBytesView)
        }
        do {
            try Envelope.Header(parsing: Array(bytes.prefix(Envelope.headerLength)), at: "body")
                .require(kind, at: "body")
            try Envelope.check(
                tail: bytes.suffix(Envelope.trailerLength), length: UInt64(bytes.count), at: "body")
        } catch let failure as Failure {
            throw Refusal(failure)
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

// MARK: - Answers

extension API {
    private func answer(_ refusal: Refusal) -> Response {
        var headers = refusal.headers
        headers[.contentType] = "text/plain; charset=utf-8"
        return Response(
            status: refusal.status, headers: headers,
            body: .init(byteBuffer: ByteBuffer(string: refusal.text)))
    }

    private func refusal(of error: DiskError) -> Refusal {
        error.isFull
            ? Refusal(.insufficientStorage, "the store's disk is full", hint: "its operator can make room")
            : Refusal(.internalServerError, "the store's disk failed", hint: "the server's log says more")
    }

    private func text(_ status: HTTPResponse.Status, _ text: String, for request: Request) -> Response {
        let headers: HTTPFields = [
            .contentType: "text/plain; charset=utf-8", .contentLength: "\(text.utf8.count)",
        ]
        guard request.method == .get else { return Response(status: status, headers: headers) }
        return Response(status: status, headers: headers, body: .init(byteBuffer: ByteBuffer(string: text)))
    }
}

/// A request as the log tells it, on one line, whatever a client sends.
private struct Visit {
    private let began = ContinuousClock.now
    private let what: String

    init(_ request: Request, _ context: Connection) {
        let uri = request.uri.string.utf8.prefix(300).map {
            (0x21...0x7e).contains($0) ? $0 : UInt8(ascii: "?")
        }
        what = "\(context.peer) \(request.method.rawValue) \(String(decoding: uri, as: UTF8.self))"
    }

    /// How it ended, and how long it took until now.
    func line(_ outcome: String) -> String {
        let taken = (ContinuousClock.now - began).components
        return "\(what) \(outcome) \(taken.seconds * 1000 + taken.attoseconds / 1_000_000_000_000_000)ms"
    }
}

/// A count in decimal digits and nothing else.
private func number(_ text: String) -> UInt64? {
    guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    return UInt64(text)
}

extension Request {
    fileprivate var hasBody: Bool {
        headers[.transferEncoding] != nil || headers[.contentLength].map { $0 != "0" } ?? false
    }

    fileprivate var wantsProgress: Bool { headers[.uploadProgress] == "?1" }

    fileprivate func query(_ name: String) -> String? {
        for pair in (uri.query ?? "").split(separator: "&") where pair.hasPrefix("\(name)=") {
            return String(pair.dropFirst(name.count + 1))
        }
        return nil
    }
}

extension Connection {
    fileprivate var peer: String { channel.remoteAddress?.ipAddress ?? "-" }

    /// Tells a client that asked for it how far its upload has come, and does not wait for it to hear.
    fileprivate func report(_ offset: UInt64) {
        channel.writeAndFlush(
            HTTPResponsePart.head(
                HTTPResponse(
                    status: .init(code: 104, reasonPhrase: "Upload Resumption Supported"),
                    headerFields: [.uploadOffset: "\(offset)"])), promise: nil)
    }

    /// Tells a client that asked first (`Expect: 100-continue`) to send its body.
    fileprivate func goOn(_ request: Request) async throws {
        guard request.headers[.expect]?.lowercased() == "100-continue" else { return }
        try await channel.writeAndFlush(HTTPResponsePart.head(HTTPResponse(status: .continue)))
    }
}

/// What a Range header asks for (RFC 9110, 14.2). More than one range, or another unit, gets the whole.
enum ByteRange: Equatable {
    case whole
    case part(Range<UInt64>)
    case unsatisfiable

    static func parse(_ text: String, size: UInt64) -> ByteRange {
        let unit = "bytes="
        guard text.hasPrefix(unit) else { return .whole }
        let ends = text.dropFirst(unit.count).split(separator: "-", omittingEmptySubsequences: false)
        guard ends.count == 2, let first = end(ends[0]), let last = end(ends[1]) else { return .whole }
        switch (first, last) {
        case (nil, nil): return .whole
        case (nil, let suffix?):
            guard suffix > 0, size > 0 else { return .unsatisfiable }
            return .part(size - min(suffix, size)..<size)
        case (let start?, let last):
            if let last, last < start { return .whole }
            guard start < size else { return .unsatisfiable }
            return .part(start..<(last.map { min($0, size - 1) + 1 } ?? size))
        }
    }

    /// Nil for what is no number; `.some(nil)` for an open end.
    private static func end(_ text: Substring) -> UInt64?? {
        text.isEmpty ? .some(nil) : number(String(text)).map(Optional.some)
    }
}
