import DuneSeaProtocol
import Envelope
import OpenSSL
import Plumbing
import StoreFormat

/// A store on a DuneSea server: `dunesea-protocol(7)`.
///
/// Whatever fails for a reason that may pass is tried again; every request may be made twice.
final class DuneSeaStore: Store {
    private let http: HTTP
    private let url: String
    private let settings: Settings

    /// - Parameter url: what messages call the store.
    init(_ http: HTTP, called url: String, told settings: Settings) {
        self.http = http
        self.url = url
        self.settings = settings
    }

    // MARK: Blobs

    func put(_ blob: Intake, of domain: Domain) throws {
        let policy = policy(for: domain)
        let (upload, isReported) = try policy.run { try open(for: domain) }
        do {
            let window = Window(of: blob, policy, at: place(domain), isReported: isReported)
            while try window.fill() { try send(window, to: upload, of: domain, policy) }
            let receipt = try blob.receipt()
            policy.progressed()
            try policy.run { try finish(upload, as: receipt, of: domain) }
        } catch {
            // A server out of reach removes it for its age.
            _ = try? http.send(
                .init(method: "DELETE", path: Resource.upload(upload).path(in: domain), stall: 5))
            throw error
        }
    }

    /// - Returns: the upload's identifier, and whether the server acknowledges bytes in the middle of a request.
    private func open(for domain: Domain) throws -> (upload: String, isReported: Bool) {
        let answer = try request(
            "POST", .uploads, of: domain, fields: [(.uploadProgress, DuneSeaProtocol.yes)])
        guard answer.means == .created else { throw refusal(answer, of: domain) }
        let id = String(decoding: answer.body, as: UTF8.self).filter { !$0.isWhitespace }
        guard id.isHex(bytes: 16) else { throw foreign("it did not name the upload", of: domain) }
        return (id, answer[.uploadProgress] == DuneSeaProtocol.yes)
    }

    /// Sends until the server has acknowledged all that has come.
    private func send(_ window: Window, to upload: String, of domain: Domain, _ policy: RetryPolicy) throws {
        var isKnown = true
        func acknowledged(_ answer: HTTP.Answer) throws {
            guard let offset = answer[.uploadOffset].flatMap({ UInt64($0) }) else {
                throw foreign("it did not state an offset", of: domain)
            }
            try window.acknowledge(offset)
            isKnown = true
        }
        try policy.run {
            while !isKnown || window.acknowledged < window.end {
                guard isKnown else {
                    let answer = try request("HEAD", .upload(upload), of: domain)
                    guard answer.means == .noContent else { throw lost(answer, of: domain) }
                    try acknowledged(answer)
                    continue
                }
                isKnown = false
                window.begin()
                let answer = try request(
                    "PATCH", .upload(upload), of: domain,
                    fields: [(.uploadOffset, "\(window.acknowledged)")]
                        + (window.isReported ? [(.uploadProgress, DuneSeaProtocol.yes)] : []), body: window)
                switch answer.means {
                case .noContent:
                    try acknowledged(answer)
                    guard window.acknowledged == window.end else {
                        throw Interruption(
                            failure: Failure(.unavailable, "the server accepted less than it was sent"))
                    }
                case .conflict:
                    throw Interruption(
                        failure: Failure(.unavailable, "the server has the upload at a different offset"))
                default: throw lost(answer, of: domain)
                }
            }
        }
    }

    /// The server may have to read all of it again from its disk first.
    private func finish(_ upload: String, as receipt: Receipt, of domain: Domain) throws {
        let answer = try request(
            "PUT", .blob(receipt.sha256.hex), [(.upload, upload), (.length, "\(receipt.size)")], of: domain,
            stall: max(settings.stall, 30) + Double(receipt.size) / 20e6)
        guard answer.isStored else { throw lost(answer, of: domain) }
    }

    /// The refusal of something that needs an upload.
    private func lost(_ answer: HTTP.Answer, of domain: Domain) -> any Error {
        guard answer.means == .notFound || answer.means == .conflict else {
            return refusal(answer, of: domain)
        }
        return Failure(
            .io, "the server has lost the upload", at: place(domain), hint: "run it again from the start")
    }

    func get(_ blob: Address, of domain: Domain, to outlet: Outlet) throws {
        var offset: UInt64 = 0
        let policy = policy(for: domain)
        try policy.run {
            let start = offset
            let answer = try request(
                "GET", .blob(blob.hex), of: domain, fields: start > 0 ? [(.range, "bytes=\(start)-")] : []
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
                policy.progressed()
            }
            if answer.means == .notFound {
                throw Failure(
                    .notFound, "no blob \(blob)", at: place(domain), hint: "ep-fetch list shows what there is"
                )
            }
            guard answer.means == .ok || answer.means == .partialContent else {
                throw refusal(answer, of: domain)
            }
        }
    }

    /// Checks that the bytes that come are those that were asked for, and that a cut would be noticed.
    private func check(_ answer: HTTP.Answer, isFrom start: UInt64, of domain: Domain) throws {
        guard answer[.contentLength] != nil else { throw foreign("it did not state a length", of: domain) }
        guard start > 0 else { return }
        guard answer.means == .partialContent, answer[.contentRange]?.hasPrefix("bytes \(start)-") == true
        else {
            throw foreign("it did not continue at byte \(start)", of: domain)
        }
    }

    // MARK: Metadata

    func put(
        metadata: [UInt8], of domain: Domain, for blob: Address, following head: Address?,
        buildingOn parent: Address?
    ) throws {
        let none = DuneSeaProtocol.none
        let answer = try persist(
            "PUT", .metadata(blob.hex), [(.follows, head?.hex ?? none), (.parent, parent?.hex ?? none)],
            of: domain, body: metadata)
        switch answer.means {
        case .ok, .created: return
        case .conflict:
            let newest = answer[.backupBlob].flatMap { try? Address($0) }
            throw Failure(
                .busy, "the head has moved; it is now \(newest?.hex ?? "none")", at: place(domain),
                hint: "run the backup again; it will build on the new head")
        case .failedDependency: throw failure(.notFound, answer, of: domain)
        default: throw refusal(answer, of: domain)
        }
    }

    func last(of domain: Domain) throws -> Backup {
        try document(Resource.last, of: domain, none: "no backup of \(domain)")
    }

    func document(of blob: Address, in domain: Domain) throws -> [UInt8] {
        let backup = try document(blob.hex, of: domain, none: "no backup with the blob \(blob)")
        guard backup.blob == blob else {
            throw foreign("it returned the metadata of another blob", of: domain)
        }
        return backup.metadata
    }

    func history(
        of domain: Domain, newestFirst: Bool, _ visit: (Address, Result<[UInt8], Failure>) throws -> Void
    ) throws {
        let policy = policy(for: domain)
        var last: Address?
        // A series that was cut goes on behind what has come.
        try policy.run {
            var query: [(Query, String)] = newestFirst ? [(.order, DuneSeaProtocol.newestFirst)] : []
            if let last { query.append((.after, last.hex)) }
            let answer = try series(.metadata(Resource.history), query, of: domain, "history") {
                head, document in
                let blob: Address
                let result: Result<[UInt8], Failure>
                switch head {
                case .document(let address, _):
                    blob = try Address(address.hex)
                    result = .success(document)
                case .missing(let address, let status):
                    blob = try Address(address.hex)
                    let what = "the server cannot read the metadata of blob \(blob)"
                    result = .failure(Failure(status, what, at: place(domain)))
                case .pruning: throw unasked(of: domain)
                case .end: return
                }
                try visit(blob, result)
                last = blob
                policy.progressed()
            }
            guard answer.means != .notFound || last != nil else {
                throw Failure(.notFound, "no backup of \(domain)", at: place(domain))
            }
            guard answer.means == .ok else { throw refusal(answer, of: domain) }
        }
    }

    /// One request for a series, which is visited item by item.
    ///
    /// - Parameter what: it is a series of.
    /// - Throws: `Interruption` where it has no end.
    private func series(
        _ resource: Resource, _ query: [(Query, String)] = [], of domain: Domain, _ what: String,
        _ visit: (Series.Head, [UInt8]) throws -> Void
    ) throws -> HTTP.Answer {
        var reader = Series.Reader(at: place(domain))
        let answer = try withoutActuallyEscaping(visit) { visit in
            try request("GET", resource, query, of: domain) { _, bytes in try reader.add(bytes, visit) }
        }
        guard answer.means != .ok || reader.isWhole else {
            throw Interruption(failure: Failure(.unavailable, "the \(what) was truncated"))
        }
        return answer
    }

    private func unasked(of domain: Domain) -> Failure {
        Failure(.badData, "the server sent something other than it was asked for", at: place(domain))
    }

    private func document(_ name: String, of domain: Domain, none: String) throws -> Backup {
        let answer = try persist("GET", .metadata(name), of: domain, limit: StoreLimits.document)
        guard answer.means != .notFound else { throw Failure(.notFound, none, at: place(domain)) }
        guard answer.means == .ok else { throw refusal(answer, of: domain) }
        guard let blob = answer[.backupBlob].flatMap({ try? Address($0) }) else {
            throw foreign("it did not state which blob the metadata is for", of: domain)
        }
        return Backup(blob: blob, metadata: answer.body)
    }

    // MARK: Keys

    func put(key: [UInt8], of domain: Domain) throws {
        let answer = try persist("PUT", .key(Digest.hex(.sha256, of: key)), of: domain, body: key)
        guard answer.isStored else { throw refusal(answer, of: domain) }
    }

    func key(of domain: Domain) throws -> StoredKey {
        let answer = try persist("GET", .key(Resource.last), of: domain)
        guard answer.means != .notFound else {
            throw Failure(.notFound, "no key for \(domain)", at: place(domain))
        }
        guard answer.means == .ok else { throw refusal(answer, of: domain) }
        let tag = answer[.eTag].map { $0.filter { $0 != "\"" } }
        return StoredKey(bytes: answer.body, address: tag.flatMap { try? Address($0) })
    }

    // MARK: Pruning

    func put(pruning: [UInt8], of domain: Domain) throws {
        let answer = try persist(
            "PUT", .pruning(Digest.hex(.sha256, of: pruning)), of: domain, body: pruning)
        guard answer.isStored else { throw refusal(answer, of: domain) }
    }

    func prunings(
        of domain: Domain, _ visit: (Address, Result<[UInt8], Failure>) throws -> Void
    ) throws {
        let policy = policy(for: domain)
        var visited = 0
        // A series that was cut is read again from its start: there is little of it.
        try policy.run {
            var count = 0
            let answer = try series(.prunings, of: domain, "list of prunings") { head, pruning in
                switch head {
                case .pruning(let address, _):
                    count += 1
                    guard count > visited else { return }
                    try visit(Address(address.hex), .success(pruning))
                    visited = count
                    policy.progressed()
                case .end: return
                case .document, .missing: throw unasked(of: domain)
                }
            }
            guard answer.means == .ok else { throw refusal(answer, of: domain) }
        }
    }

    /// In bytes: a line for each blob of as many backups as a store may have.
    private static let longestList = 100 * StoreLimits.history

    func blobs(of domain: Domain) throws -> [BlobEntry] {
        let answer = try persist("GET", .blobs, of: domain, limit: DuneSeaStore.longestList)
        guard answer.means == .ok else { throw refusal(answer, of: domain) }
        return try BlobEntry.parse(answer.body, at: place(domain))
    }

    func discard(_ blobs: [Address], of domain: Domain) throws -> Int {
        try move(blobs, to: .trash, of: domain)
    }

    func recover(_ blobs: [Address], of domain: Domain) throws {
        _ = try move(blobs, to: .blobs, of: domain)
    }

    /// - Returns: how many were not moved, though they are there.
    private func move(_ blobs: [Address], to resource: Resource, of domain: Domain) throws -> Int {
        var held = 0
        for start in stride(from: 0, to: blobs.count, by: DuneSeaProtocol.mostMoved) {
            let some = blobs[start...].prefix(DuneSeaProtocol.mostMoved)
            let answer = try persist(
                "POST", resource, of: domain, body: Array(some.map { "\($0)\n" }.joined().utf8))
            guard answer.means == .ok else { throw refusal(answer, of: domain) }
            held += Int(clamping: min(try number(in: answer, of: domain), UInt64(some.count)))
        }
        return held
    }

    /// The server does that by itself.
    func emptyTrash(of domain: Domain, olderThan age: Int64) throws -> UInt64 { 0 }

    func room(for domain: Domain) throws -> UInt64? {
        let answer = try persist("GET", .room, of: domain)
        guard answer.means == .ok else { throw refusal(answer, of: domain) }
        return try number(in: answer, of: domain)
    }

    /// A number alone on a line.
    private func number(in answer: HTTP.Answer, of domain: Domain) throws -> UInt64 {
        guard let number = UInt64(String(decoding: answer.body, as: UTF8.self).dropLast()) else {
            throw foreign("it did not answer with a number", of: domain)
        }
        return number
    }

    // MARK: Requests

    private func policy(for domain: Domain) -> RetryPolicy { RetryPolicy(settings, at: place(domain)) }

    private func place(_ domain: Domain) -> String { "\(url), \(domain)" }

    /// A short request, as often as it takes.
    private func persist(
        _ method: String, _ resource: Resource, _ query: [(Query, String)] = [], of domain: Domain,
        body: [UInt8]? = nil, limit: Int = Problem.longest
    ) throws -> HTTP.Answer {
        try policy(for: domain).run {
            try request(method, resource, query, of: domain, body: body.map(Bytes.init), limit: limit)
        }
    }

    /// One request, whose answer is a DuneSea server's and asks for no patience.
    private func request(
        _ method: String, _ resource: Resource, _ query: [(Query, String)] = [], of domain: Domain,
        fields: [(Field, String)] = [], body: (any Body)? = nil, stall: Double? = nil,
        limit: Int = Problem.longest, receive: ((HTTP.Answer, UnsafeRawBufferPointer) throws -> Void)? = nil
    ) throws -> HTTP.Answer {
        let answer = try http.send(
            .init(
                method: method, path: resource.target(in: domain, query),
                headers: fields.map { "\($0.rawValue): \($1)" }, body: body, stall: stall),
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
                failure: failure(.unavailable, answer, of: domain),
                pause: answer[.retryAfter].flatMap { UInt32($0) }.map(Double.init) ?? 0)
        default:
            try checkOrigin(answer, of: domain)
            return answer
        }
    }

    /// What is no DuneSea server must not pass for an empty one: any server answers 404 to what it does not know.
    private func checkOrigin(_ answer: HTTP.Answer, of domain: Domain) throws {
        guard answer[.duneSea] == DuneSeaProtocol.version else {
            throw foreign("it answered with status \(answer.status)", of: domain)
        }
    }

    private func foreign(_ what: String, of domain: Domain) -> Failure {
        Failure(
            .unavailable, "not a DuneSea server, or of an unknown version: \(what)", at: place(domain),
            hint: "is the URL right? is a proxy in between?")
    }

    /// What a status means that no function has a better word for.
    private func refusal(_ answer: HTTP.Answer, of domain: Domain) -> Failure {
        switch answer.means {
        case .unauthorized:
            Failure(
                .denied, "the token does not open this domain", at: place(domain),
                hint: "dunesea token add, run on the server, creates one; each is for one domain")
        case .forbidden: failure(.denied, answer, of: domain)
        case .notFound: failure(.notFound, answer, of: domain)
        case .contentTooLarge, .rangeNotSatisfiable, .unprocessableContent:
            failure(.badData, answer, of: domain)
        case .insufficientStorage: failure(.io, answer, of: domain)
        default: foreign("it answered with status \(answer.status)", of: domain)
        }
    }

    /// The server's own failure, where it says one.
    ///
    /// - Parameter status: what the answer's status means, where the server does not know better.
    private func failure(_ status: ExitStatus, _ answer: HTTP.Answer, of domain: Domain) -> Failure {
        guard let problem = Problem(parsing: answer.body, status: answer.status) else {
            return Failure(status, "the server answered with status \(answer.status)", at: place(domain))
        }
        return Failure(
            problem.exit ?? status, problem.detail,
            at: place(domain) + (problem.place.map { ", \($0) there" } ?? ""), hint: problem.hint)
    }
}

extension HTTP.Answer {
    /// Nil for a status that the protocol does not have.
    fileprivate var means: Status? { Status(rawValue: status) }

    /// It is stored, now or by the same request before.
    fileprivate var isStored: Bool { means == .ok || means == .created }

    fileprivate subscript(field: Field) -> String? { headers[field.rawValue.lowercased()] }
}
