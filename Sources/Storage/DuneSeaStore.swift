import Envelope
import Glibc
import OpenSSL
import Plumbing

/// A store on a DuneSea server: `dunesea-protocol(7)`.
///
/// Whatever fails for a reason that may pass is tried again; every request may be made twice.
final class DuneSeaStore: Store {
    private let http: HTTP
    private let url: StoreURL
    private let remote: Remote

    init(_ http: HTTP, called url: StoreURL, as remote: Remote) {
        self.http = http
        self.url = url
        self.remote = remote
    }

    // MARK: Blobs

    func take(_ blob: Intake, of domain: Domain) throws {
        let patience = patience(with: domain)
        let (upload, isReported) = try patience.persist { try open(for: domain) }
        do {
            let window = Window(of: blob, patience, at: place(domain), isReported: isReported)
            while try window.fill() { try send(window, to: upload, of: domain, patience) }
            let receipt = try blob.receipt()
            patience.progressed()
            try patience.persist { try finish(upload, as: receipt, of: domain) }
        } catch {
            // A server out of reach removes it for its age.
            _ = try? http.send(.init(method: "DELETE", path: path(domain, upload), stall: 5))
            throw error
        }
    }

    /// - Returns: the upload's path below the domain, and whether the server acknowledges bytes in the middle of a request.
    private func open(for domain: Domain) throws -> (path: String, isReported: Bool) {
        let answer = try request("POST", "uploads", of: domain, headers: ["Upload-Progress: ?1"])
        guard answer.status == 201 else { throw refusal(answer, of: domain) }
        let id = String(decoding: answer.body, as: UTF8.self).filter { !$0.isWhitespace }
        guard id.isHex(bytes: 16) else { throw foreign("it named no upload", of: domain) }
        return ("uploads/\(id)", answer.headers["upload-progress"] == "?1")
    }

    /// Sends until the server has acknowledged all that has come.
    private func send(_ window: Window, to upload: String, of domain: Domain, _ patience: Patience) throws {
        var isKnown = true
        func acknowledged(_ answer: HTTP.Answer) throws {
            guard let offset = answer.headers["upload-offset"].flatMap({ UInt64($0) }) else {
                throw foreign("it gave no offset", of: domain)
            }
            try window.acknowledge(offset)
            isKnown = true
        }
        try patience.persist {
            while !isKnown || window.acknowledged < window.end {
                guard isKnown else {
                    let answer = try request("HEAD", upload, of: domain)
                    guard answer.status == 204 else { throw lost(answer, of: domain) }
                    try acknowledged(answer)
                    continue
                }
                isKnown = false
                window.begin()
                let answer = try request(
                    "PATCH", upload, of: domain,
                    headers: ["Upload-Offset: \(window.acknowledged)"]
                        + (window.isReported ? ["Upload-Progress: ?1"] : []), body: window)
                switch answer.status {
                case 204:
                    try acknowledged(answer)
                    guard window.acknowledged == window.end else {
                        throw Interruption(
                            failure: Failure(.unavailable, "the server took less than it was sent"))
                    }
                case 409:
                    throw Interruption(
                        failure: Failure(.unavailable, "the server has the upload at another byte"))
                default: throw lost(answer, of: domain)
                }
            }
        }
    }

    /// The server may have to read all of it again from its disk first.
    private func finish(_ upload: String, as receipt: Receipt, of domain: Domain) throws {
        let id = upload.dropFirst("uploads/".count)
        let answer = try request(
            "PUT", "blobs/\(receipt.sha256)?upload=\(id)&length=\(receipt.size)", of: domain,
            stall: max(remote.stall, 30) + Double(receipt.size) / 20e6)
        guard answer.status == 200 || answer.status == 201 else { throw lost(answer, of: domain) }
    }

    /// The refusal of something that needs an upload.
    private func lost(_ answer: HTTP.Answer, of domain: Domain) -> any Error {
        guard answer.status == 404 || answer.status == 409 else { return refusal(answer, of: domain) }
        return Failure(
            .io, "the server has lost the upload", at: place(domain), hint: "run it again, from the start")
    }

    func give(_ blob: Address, of domain: Domain, to outlet: Outlet) throws {
        var offset: UInt64 = 0
        let patience = patience(with: domain)
        try patience.persist {
            let start = offset
            let answer = try request(
                "GET", "blobs/\(blob)", of: domain, headers: start > 0 ? ["Range: bytes=\(start)-"] : []
            ) { answer, bytes in
                if offset == start { try self.check(answer, isFrom: start, of: domain) }
                var rest = bytes
                while !rest.isEmpty {
                    let count = try outlet.add {
                        let count = min($0.count, rest.count)
                        $0.copyMemory(from: .init(rebasing: rest[..<count]))
                        return count
                    }
                    rest = .init(rebasing: rest[count...])
                }
                offset += UInt64(bytes.count)
                patience.progressed()
            }
            if answer.status == 404 {
                throw Failure(
                    .notFound, "no blob \(blob)", at: place(domain), hint: "ep-fetch list shows what there is"
                )
            }
            guard answer.status == 200 || answer.status == 206 else { throw refusal(answer, of: domain) }
        }
    }

    /// Checks that the bytes that come are those that were asked for, and that a cut would be noticed.
    private func check(_ answer: HTTP.Answer, isFrom start: UInt64, of domain: Domain) throws {
        guard answer.headers["content-length"] != nil else { throw foreign("it gave no length", of: domain) }
        guard start > 0 else { return }
        guard answer.status == 206, answer.headers["content-range"]?.hasPrefix("bytes \(start)-") == true
        else {
            throw foreign("it does not go on at byte \(start)", of: domain)
        }
    }

    // MARK: Metadata

    func take(metadata: [UInt8], of domain: Domain, for blob: Address, following head: Address?) throws {
        let answer = try persist(
            "PUT", "metadata/\(blob)?follows=\(head?.hex ?? "none")", of: domain, body: metadata)
        switch answer.status {
        case 200, 201: return
        case 409:
            let newest = answer.headers["backup-blob"].flatMap { try? Address($0) }
            throw Failure(
                .busy, "the last backup is another by now: \(newest?.hex ?? "none")", at: place(domain),
                hint: "run the backup again: it plans on the new one")
        case 424:
            throw Failure(
                .notFound, "no blob \(blob)", at: place(domain), hint: "ep-store blob stores it first")
        default: throw refusal(answer, of: domain)
        }
    }

    func last(of domain: Domain) throws -> Backup {
        try document("metadata/last", of: domain, none: "no backup of \(domain)")
    }

    func next(of domain: Domain, after blob: Address?) throws -> Backup {
        try document(
            "metadata/next\(blob.map { "?after=\($0)" } ?? "")", of: domain,
            none: blob == nil ? "no backup of \(domain)" : "no backup follows")
    }

    private func document(_ path: String, of domain: Domain, none: String) throws -> Backup {
        let answer = try persist("GET", path, of: domain, limit: Envelope.maximumSealedDocumentLength)
        guard answer.status != 404 else { throw Failure(.notFound, none, at: place(domain)) }
        guard answer.status == 200 else { throw refusal(answer, of: domain) }
        guard let blob = answer.headers["backup-blob"].flatMap({ try? Address($0) }) else {
            throw foreign("it did not say whose metadata it gave", of: domain)
        }
        return Backup(blob: blob, metadata: answer.body)
    }

    // MARK: Keys

    func take(key: [UInt8], of domain: Domain) throws {
        let answer = try persist("PUT", "keys/\(Digest.hex(.sha256, of: key))", of: domain, body: key)
        guard answer.status == 200 || answer.status == 201 else { throw refusal(answer, of: domain) }
    }

    func key(of domain: Domain) throws -> StoredKey {
        let answer = try persist("GET", "keys/last", of: domain)
        guard answer.status != 404 else {
            throw Failure(.notFound, "no key of \(domain)", at: place(domain))
        }
        guard answer.status == 200 else { throw refusal(answer, of: domain) }
        let tag = answer.headers["etag"].map { $0.filter { $0 != "\"" } }
        return StoredKey(bytes: answer.body, address: tag.flatMap { try? Address($0) })
    }

    // MARK: Requests

    private func patience(with domain: Domain) -> Patience { Patience(remote, at: place(domain)) }

    private func place(_ domain: Domain) -> String { "\(url), \(domain)" }

    private func path(_ domain: Domain, _ rest: String) -> String { "/v1/\(domain)/\(rest)" }

    /// A short request, as often as it takes.
    private func persist(
        _ method: String, _ path: String, of domain: Domain, body: [UInt8]? = nil, limit: Int = 4096
    ) throws -> HTTP.Answer {
        try patience(with: domain).persist {
            try request(method, path, of: domain, body: body.map(Bytes.init), limit: limit)
        }
    }

    /// One request, whose answer is a DuneSea server's and asks for no patience.
    private func request(
        _ method: String, _ path: String, of domain: Domain, headers: [String] = [],
        body: (any Body)? = nil, stall: Double? = nil, limit: Int = 4096,
        receive: ((HTTP.Answer, UnsafeRawBufferPointer) throws -> Void)? = nil
    ) throws -> HTTP.Answer {
        let answer = try http.send(
            .init(
                method: method, path: self.path(domain, path), headers: headers, body: body, stall: stall),
            limit: limit,
            receive: receive.map { receive in
                {
                    try self.checkOrigin($0, of: domain)
                    try receive($0, $1)
                }
            })
        switch answer.status {
        case 429, 500..<507, 508...599:
            throw Interruption(
                failure: Failure(.unavailable, said(answer), at: place(domain)),
                pause: answer.headers["retry-after"].flatMap { UInt32($0) }.map(Double.init) ?? 0)
        default:
            try checkOrigin(answer, of: domain)
            return answer
        }
    }

    /// What is no DuneSea server must not pass for an empty one: any server answers 404 to what it does not know.
    private func checkOrigin(_ answer: HTTP.Answer, of domain: Domain) throws {
        guard answer.headers["dunesea"] == "1" else {
            throw foreign("it answered with status \(answer.status)", of: domain)
        }
    }

    private func foreign(_ what: String, of domain: Domain) -> Failure {
        Failure(
            .unavailable, "this is no DuneSea server that we know: \(what)", at: place(domain),
            hint: "is the URL right, and is a proxy in between?")
    }

    /// What a status means that no function has a better word for.
    private func refusal(_ answer: HTTP.Answer, of domain: Domain) -> Failure {
        let place = place(domain)
        switch answer.status {
        case 401:
            return Failure(
                .denied, "the token does not open this domain", at: place,
                hint: "dunesea token add, on the server, makes one; each is for one domain")
        case 403: return Failure(.denied, said(answer), at: place, hint: hint(answer))
        case 404: return Failure(.notFound, said(answer), at: place, hint: hint(answer))
        case 413, 416, 422: return Failure(.badData, said(answer), at: place, hint: hint(answer))
        case 507: return Failure(.io, said(answer), at: place, hint: hint(answer))
        default: return foreign("it answered with status \(answer.status): \(said(answer))", of: domain)
        }
    }

    private func said(_ answer: HTTP.Answer) -> String {
        lines(answer).first { !$0.hasPrefix("hint: ") } ?? "the server answered with status \(answer.status)"
    }

    private func hint(_ answer: HTTP.Answer) -> String? {
        lines(answer).first { $0.hasPrefix("hint: ") }.map { String($0.dropFirst("hint: ".count)) }
    }

    /// A server's words, as one may show them on a terminal.
    private func lines(_ answer: HTTP.Answer) -> [String] {
        answer.body.split(separator: UInt8(ascii: "\n")).map { printable($0.prefix(200)) }
    }
}
