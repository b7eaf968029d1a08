import Glibc
import Plumbing
import StoreFormat

@testable import Storage

/// The real server on a free port of the loopback interface, over an empty directory; it ends with the value.
final class DuneSeaServer {
    private let scratch: Scratch
    private let program: String
    private var process: Child
    let url: StoreURL

    init() throws {
        scratch = try Scratch()
        program = try DuneSeaServer.find()
        process = try Child([
            "sh", "-c", "exec \"$1\" serve --dir \"$2\" --listen 127.0.0.1:0 --keep-at-least 0 2>\"$2/log\"",
            "sh", program,
            scratch.path,
        ])
        url = try StoreURL("dunesea+http://127.0.0.1:\(DuneSeaServer.port(in: scratch))")
    }

    /// `make test` builds it before the tests run.
    static func find() throws -> String {
        let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        let program =
            getenv("EP_DUNESEA").map { String(cString: $0) } ?? "/\(root)/dunesea/.build/debug/dunesea"
        guard access(program, X_OK) == 0 else {
            throw Failure(
                .unavailable, "the server is not built", at: program,
                hint: "make dunesea-tests")
        }
        return program
    }

    private static func port(in scratch: Scratch) throws -> String {
        for _ in 0..<600 {
            let log = String(decoding: (try? scratch.read("log")) ?? [], as: UTF8.self)
            let line = log.split(separator: "\n").first { $0.contains("listening on") }
            if let port = line?.split(separator: " ").last { return String(port) }
            usleep(50_000)
        }
        throw Failure(.unavailable, "the server does not start", at: scratch.path)
    }

    /// Who may read and append in the domain.
    func settings(for domain: Domain) throws -> Settings {
        var adding = try Child([
            program, "token", "add", domain.description, "--read", "--append", "--prune", "--dir",
            scratch.path,
        ])
        let token = try adding.output.readAll(limit: 4096)
        guard try adding.wait().isSuccess else { throw Failure(.bug, "no token", at: program) }
        try scratch.write(token, to: "token-\(domain)")
        var settings = Settings()
        settings.options["token-file"] = "\(scratch.path)/token-\(domain)"
        settings.patience = 10
        return settings
    }
}

/// A store as one that has the tokens of several domains sees it.
struct PerDomain: Store {
    let server: DuneSeaServer
    private let stores: Stores

    private final class Stores {
        var open: [Domain: DuneSeaStore] = [:]
    }

    init(on server: DuneSeaServer, domains: [Domain]) throws {
        self.server = server
        stores = Stores()
        for domain in domains {
            try withStore(at: server.url, for: .writing, told: server.settings(for: domain)) {
                stores.open[domain] = $0 as? DuneSeaStore
            }
        }
    }

    private func store(of domain: Domain) throws -> DuneSeaStore {
        guard let store = stores.open[domain] else { throw Failure(.bug, "a domain without a token") }
        return store
    }

    func put(_ blob: Intake, of domain: Domain) throws { try store(of: domain).put(blob, of: domain) }

    func put(
        metadata: [UInt8], of domain: Domain, for blob: Address, following head: Address?,
        buildingOn parent: Address?
    ) throws {
        try store(of: domain).put(
            metadata: metadata, of: domain, for: blob, following: head, buildingOn: parent)
    }

    func put(pruning: [UInt8], of domain: Domain) throws {
        try store(of: domain).put(pruning: pruning, of: domain)
    }

    func prunings(
        of domain: Domain, _ visit: (Address, Result<[UInt8], Failure>) throws -> Void
    ) throws { try store(of: domain).prunings(of: domain, visit) }

    func blobs(of domain: Domain) throws -> [BlobEntry] { try store(of: domain).blobs(of: domain) }

    func discard(_ blobs: [Address], of domain: Domain) throws -> Int {
        try store(of: domain).discard(blobs, of: domain)
    }

    func recover(_ blobs: [Address], of domain: Domain) throws {
        try store(of: domain).recover(blobs, of: domain)
    }

    func emptyTrash(of domain: Domain, olderThan age: Int64) throws -> UInt64 {
        try store(of: domain).emptyTrash(of: domain, olderThan: age)
    }

    func room(for domain: Domain) throws -> UInt64? { try store(of: domain).room(for: domain) }

    func put(key: [UInt8], of domain: Domain) throws { try store(of: domain).put(key: key, of: domain) }

    func last(of domain: Domain) throws -> Backup { try store(of: domain).last(of: domain) }

    func document(of blob: Address, in domain: Domain) throws -> [UInt8] {
        try store(of: domain).document(of: blob, in: domain)
    }

    func history(
        of domain: Domain, newestFirst: Bool, _ visit: (Address, Result<[UInt8], Failure>) throws -> Void
    ) throws {
        try store(of: domain).history(of: domain, newestFirst: newestFirst, visit)
    }

    func key(of domain: Domain) throws -> StoredKey { try store(of: domain).key(of: domain) }

    func get(_ blob: Address, of domain: Domain, to outlet: Outlet) throws {
        try store(of: domain).get(blob, of: domain, to: outlet)
    }
}
