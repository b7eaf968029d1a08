import DuneSeaProtocol
import Envelope
import HTTPTypes
public import Hummingbird
import JSON
import Logging
import NIOCore
import NIOHTTPTypes
import OpenSSL
import Plumbing
import StoreFormat

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
    let door: Door
    let metrics: Metrics
    let strangers: Strangers
    /// The listener has no TLS.
    let plain: Bool
    let log: @Sendable (String) -> Void

    /// Bytes between two acknowledgements in the middle of a request, at least.
    static let step: UInt64 = 256 << 10

    public func respond(to request: Request, context: Connection) async throws -> Response {
        let entry = AccessLogEntry(request, context)
        var outflow: Outflow?
        var response: Response
        do {
            response = try await route(request, context, &outflow)
        } catch let refusal as Refusal {
            response = answer(refusal)
        } catch let failure as Failure {
            fault(failure)
            response = answer(Refusal(failure, on: store.ground))
        } catch {
            // The connection broke while the request came in.
            log(entry.line("cut"))
            throw error
        }
        response.headers[.duneSea] = DuneSeaProtocol.version
        let status = response.status.code
        if response.status == .noContent { response.headers[.contentLength] = nil }
        // Whoever is refused may still be sending: let it read why, then part.
        if status >= 400, request.hasBody { response.headers[.connection] = "close" }
        metrics.answered(request.method.rawValue, status)
        if let outflow {
            response.body = body(outflow) { log(entry.line($0 ? "\(status)" : "cut")) }
        } else {
            log(entry.line("\(status)"))
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
                if let failure = error as? Failure { fault(failure) }
                ended(false)
                throw error
            }
        }
    }

    func fault(_ failure: Failure) {
        if failure.code != nil { metrics.faulted() }
        log("error: \(failure.what): \(failure.place ?? "")")
    }

    /// Nothing of a path is decoded: what is not exactly one of these is not found.
    ///
    /// - Parameter outflow: becomes what the body is to be, where it is a blob.
    private func route(_ request: Request, _ context: Connection, _ outflow: inout Outflow?) async throws
        -> Response
    {
        let path = request.uri.path
        if path == "/\(DuneSeaProtocol.health)", request.method == .get || request.method == .head {
            guard await store.isThere() else {
                throw Refusal(.serviceUnavailable, "the store is not available")
            }
            return text(.ok, "ok\n", for: request)
        }
        guard let (name, rest) = Resource.split(path) else { throw unknown }
        let domain = try await enter(name, request)
        strangers.leave(context.channel)
        let shelf = try await store.shelf(of: domain.name)

        func may(_ rights: Tokens.Rights) throws {
            guard domain.rights.contains(rights) else {
                throw Refusal(.forbidden, "this token may not \(rights) in \(domain.name)")
            }
        }

        guard let resource = Resource(rest) else { throw unknown }
        switch (request.method, resource) {
        case (.post, .uploads):
            try may(.append)
            return try await open(shelf, reporting: request.wantsProgress)
        case (.head, .upload(let id)):
            try may(.append)
            return try await acknowledge(shelf.upload(id))
        case (.patch, .upload(let id)):
            try may(.append)
            return try await append(request, to: shelf.upload(id), context)
        case (.delete, .upload(let id)):
            try may(.append)
            try await shelf.upload(id).abandon()
            return Response(status: .noContent)
        case (.put, .blob(let name)):
            try may(.append)
            return try await finish(request, address(name), on: shelf)
        case (.get, .blob(let name)), (.head, .blob(let name)):
            try may(.read)
            return try await blob(address(name), of: shelf, for: request, context, &outflow)
        case (.put, .metadata(let name)):
            try may(.append)
            return try await advance(request, address(name), on: shelf, context)
        case (.get, .metadata(let name)), (.head, .metadata(let name)):
            try may(.read)
            switch name {
            case Resource.last:
                return try await document(shelf.last, of: shelf, for: request, none: "no backup yet")
            case Resource.history:
                return try history(request, of: shelf)
            default:
                guard let blob = try? Address(name) else { throw unknown }
                return try await document(
                    shelf.has(blob) ? blob : nil, of: shelf, for: request, none: "no backup with this blob")
            }
        case (.get, .blobs), (.head, .blobs):
            try may(.read)
            return try await list(shelf, for: request)
        case (.post, .blobs):
            try may(.prune)
            return try await recover(request, on: shelf, context)
        case (.post, .trash):
            try may(.prune)
            return try await discard(request, on: shelf, context)
        case (.put, .pruning(let name)):
            try may(.prune)
            return try await keep(
                .pruning, request, address(name), atMost: StoreLimits.document, context
            ) { try await shelf.keep(pruning: $0, of: address(name)) }
        case (.get, .prunings), (.head, .prunings):
            try may(.read)
            return prunings(of: shelf, for: request)
        case (.get, .room), (.head, .room):
            try may(.read)
            return try await room(on: shelf, for: request)
        case (.put, .key(let name)):
            try may(.append)
            return try await keep(.key, request, address(name), atMost: StoreLimits.key, context) {
                try await shelf.keep(key: $0, of: address(name))
            }
        case (.get, .key(let name)), (.head, .key(let name)):
            try may(.read)
            guard name == Resource.last else { throw unknown }
            return try await lastKey(of: shelf, for: request)
        default:
            throw Refusal(
                .methodNotAllowed, "\(request.method.rawValue) is not allowed here",
                hint: "what is stored is never changed, and removed only by way of the trash")
        }
    }

    private var unknown: Refusal { Refusal(.notFound, "no such address", hint: "see dunesea-protocol(7)") }

    func address(_ text: String) throws -> Address {
        do { return try Address(text) } catch {
            throw Refusal(.badRequest, "an address has 64 lower-case hexadecimal digits")
        }
    }
}

// MARK: - Answers

extension API {
    private func answer(_ refusal: Refusal) -> Response {
        var headers = refusal.headers
        headers[.contentType] = Problem.mediaType
        return Response(
            status: refusal.status, headers: headers,
            body: .init(byteBuffer: ByteBuffer(bytes: refusal.problem.json.line)))
    }

    func text(_ status: HTTPResponse.Status, _ text: String, for request: Request) -> Response {
        let headers: HTTPFields = [
            .contentType: "text/plain; charset=utf-8", .contentLength: "\(text.utf8.count)",
        ]
        guard request.method != .head else { return Response(status: status, headers: headers) }
        return Response(status: status, headers: headers, body: .init(byteBuffer: ByteBuffer(string: text)))
    }
}
