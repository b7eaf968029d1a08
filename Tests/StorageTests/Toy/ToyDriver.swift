import OpenSSL
import Plumbing
import Storage
import StoreFormat
import Synchronization

/// A kind of store that is in nobody's registry but the test's: `toy:NAME`, in memory for as long as the process lives.
struct ToyDriver: Driver {
    static let schemes = ["toy"]
    static let form = "toy:NAME"
    static let options = [readOnly]

    static let readOnly = DriverOption("read-only", help: "Take nothing.", .flag)

    let name: String

    init(scheme: String, rest: Substring) throws {
        guard !rest.isEmpty else { throw Failure(.usage, "a toy without a name") }
        name = String(rest)
    }

    var description: String { "toy:\(name)" }

    func withStore<Result>(
        for access: Access, told settings: Settings, _ body: (any Store) throws -> Result
    ) throws -> Result {
        try body(ToyStore(called: name, isReadOnly: access == .writing && settings.isSet(Self.readOnly)))
    }

    func isApart(from path: String) -> Bool { true }
}

struct ToyStore: Store {
    private struct Content {
        var blobs: [Address: [UInt8]] = [:]
        var backups: [Backup] = []
        var key: [UInt8]?
    }

    private struct Key: Hashable {
        let store: String
        let domain: Domain
    }

    private static let all = Mutex<[Key: Content]>([:])

    private let name: String
    private let isReadOnly: Bool

    init(called name: String, isReadOnly: Bool) {
        self.name = name
        self.isReadOnly = isReadOnly
    }

    private func content(_ domain: Domain) -> Content {
        ToyStore.all.withLock { $0[Key(store: name, domain: domain)] ?? Content() }
    }

    private func change(_ domain: Domain, _ body: (inout Content) throws -> Void) throws {
        guard !isReadOnly else { throw Failure(.denied, "it takes nothing", at: "toy:\(name)") }
        try ToyStore.all.withLock { try body(&$0[Key(store: name, domain: domain), default: Content()]) }
    }

    func put(_ blob: Intake, of domain: Domain) throws {
        var bytes: [UInt8] = []
        while let run = try blob.next() {
            bytes.append(contentsOf: run)
            blob.release()
        }
        let address = try blob.receipt().sha256
        try change(domain) { $0.blobs[address] = bytes }
    }

    func put(
        metadata: [UInt8], of domain: Domain, for blob: Address, following head: Address?,
        buildingOn parent: Address?
    ) throws {
        try change(domain) { content in
            let backup = Backup(blob: blob, metadata: metadata)
            if content.backups.last == backup { return }
            guard content.backups.last?.blob == head else { throw Failure(.busy, "the head has moved") }
            guard !content.backups.contains(where: { $0.blob == blob }) else {
                throw Failure(.badData, "it is already in the history")
            }
            guard content.blobs[blob] != nil, parent.map({ content.blobs[$0] != nil }) ?? true else {
                throw Failure(.notFound, "no such blob")
            }
            content.backups.append(backup)
        }
    }

    func last(of domain: Domain) throws -> Backup {
        guard let last = content(domain).backups.last else { throw Failure(.notFound, "no backup") }
        return last
    }

    func document(of blob: Address, in domain: Domain) throws -> [UInt8] {
        guard let backup = content(domain).backups.first(where: { $0.blob == blob }) else {
            throw Failure(.notFound, "no such backup")
        }
        return backup.metadata
    }

    func history(
        of domain: Domain, newestFirst: Bool, _ visit: (Address, Result<[UInt8], Failure>) throws -> Void
    ) throws {
        let backups = content(domain).backups
        guard !backups.isEmpty else { throw Failure(.notFound, "no backup") }
        for backup in newestFirst ? backups.reversed() : backups {
            try visit(backup.blob, .success(backup.metadata))
        }
    }

    func put(key: [UInt8], of domain: Domain) throws { try change(domain) { $0.key = key } }

    func key(of domain: Domain) throws -> StoredKey {
        guard let key = content(domain).key else { throw Failure(.notFound, "no key") }
        return StoredKey(bytes: key, address: try Address(Digest.hex(.sha256, of: key)))
    }

    func get(_ blob: Address, of domain: Domain, to outlet: Outlet) throws {
        guard let bytes = content(domain).blobs[blob] else { throw Failure(.notFound, "no such blob") }
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = try outlet.add {
                let count = min($0.count, rest.count)
                $0.copyBytes(from: rest.prefix(count))
                return count
            }
            rest = rest.dropFirst(count)
        }
    }
}
