import DurableFiles
import Glibc
import OpenSSL
import Plumbing
import StoreFormat

/// A store in a directory or on a drive: `escapepod/<domain>/blobs/<address>` and
/// `escapepod/<domain>/metadata/<10-digit number>-<address>`, among others; `escapepod-storage(7)` has the layout and its rules.
struct DirectoryStore: Store {
    private let root: Folder
    private let url: String

    /// - Parameter url: what messages call the store.
    init(root: Folder, called url: String) {
        self.root = root
        self.url = url
    }

    // MARK: Blobs

    func put(_ blob: Intake, of domain: Domain) throws {
        let home = try root.making(Layout.root).making(domain.description)
        let staged = try StagedBlob(in: try home.making(Layout.blobs), of: home)
        defer { staged.discard() }
        try pulledOutIsIO {
            while let bytes = try blob.next() {
                try staged.write(bytes)
                blob.release()
            }
            try staged.commit(as: try blob.receipt().sha256)
        }
    }

    func get(_ blob: Address, of domain: Domain, to outlet: Outlet) throws {
        guard let blobs = try home(of: domain)?.folder(Layout.blobs),
            let stored = try StoredBlob(blob, in: blobs)
        else { throw missing(blob, of: domain) }
        try stored.checkWhole()
        var offset: UInt64 = 0
        while true {
            let count = try outlet.add { try stored.read(into: $0, at: offset) }
            if count == 0 { return }
            offset += UInt64(count)
        }
    }

    // MARK: Metadata

    func put(
        metadata: [UInt8], of domain: Domain, for blob: Address, following head: Address?,
        buildingOn parent: Address?
    ) throws {
        guard let home = try home(of: domain), let blobs = try home.folder(Layout.blobs) else {
            throw missing(blob, of: domain)
        }
        let directory = try home.making(Layout.metadata)
        try home.locked {
            let history = try self.history(in: directory)
            let newest = try history.last()
            if let newest, newest.address == blob,
                try read(newest, in: directory) == metadata
            {
                // The same as before: the answer was lost, perhaps with the sync in front of it.
                return try directory.sync()
            }
            guard newest?.address == head else {
                throw Failure(
                    .busy, "the head has moved; it is now \(newest?.address.hex ?? "none")",
                    at: "\(url), \(domain)", hint: "run the backup again; it will build on the new head")
            }
            guard !history.entries.contains(where: { $0.address == blob }) else {
                throw Failure(
                    .badData, "this blob is already in the history: \(blob)", at: "\(url), \(domain)")
            }
            guard let stored = try StoredBlob(blob, in: blobs) else { throw missing(blob, of: domain) }
            try stored.checkWhole()
            if let parent, try StoredBlob(parent, in: blobs) == nil { throw lost(parent, of: domain) }
            try blobs.sync()
            guard history.entries.count < StoreLimits.history else {
                throw Failure(.badData, "the history is full", at: "\(url), \(domain)")
            }
            try commit(
                metadata, as: History.Entry(blob, after: newest, at: "\(url), \(domain)"), in: directory)
        }
    }

    /// The caller holds the domain's lock, so every staged file here is a dead writer's.
    private func commit(_ bytes: [UInt8], as entry: History.Entry, in directory: Folder) throws {
        try StagedBlob.sweep(directory)
        try pulledOutIsIO {
            try directory.put(
                bytes, as: entry.name, stagedAs: StagedBlob.name(), mode: StagedBlob.mode, taken: .refused)
        }
    }

    func last(of domain: Domain) throws -> Backup {
        guard let directory = try home(of: domain)?.folder(Layout.metadata),
            let newest = try history(in: directory).last()
        else { throw none(of: domain) }
        return Backup(blob: newest.address, metadata: try read(newest, in: directory))
    }

    func list(of domain: Domain) throws -> [Address] { try backups(of: domain).entries.map(\.address) }

    func document(of blob: Address, in domain: Domain) throws -> [UInt8] {
        let (directory, entries) = try backups(of: domain)
        guard let entry = entries.first(where: { $0.address == blob }) else {
            throw Failure(.notFound, "no backup with the blob \(blob)", at: "\(url), \(domain)")
        }
        return try read(entry, in: directory)
    }

    func history(
        of domain: Domain, newestFirst: Bool, _ visit: (Address, Result<[UInt8], Failure>) throws -> Void
    ) throws {
        let (directory, entries) = try backups(of: domain)
        for entry in newestFirst ? entries.reversed() : entries {
            try visit(entry.address, result(of: entry, in: directory))
        }
    }

    private func result(of entry: History.Entry, in directory: Folder) throws -> Result<[UInt8], Failure> {
        do { return .success(try read(entry, in: directory)) } catch let failure as Failure
            where [.badData, .io].contains(failure.status)
        {
            return .failure(failure)
        }
    }

    /// The folder of a domain's documents, and what its names tell: one entry at least.
    private func backups(of domain: Domain) throws -> (directory: Folder, entries: [History.Entry]) {
        guard let directory = try home(of: domain)?.folder(Layout.metadata) else { throw none(of: domain) }
        let entries = try history(in: directory).all()
        guard !entries.isEmpty else { throw none(of: domain) }
        return (directory, entries)
    }

    private func read(_ entry: History.Entry, in directory: Folder) throws -> [UInt8] {
        try directory.read(entry.name, limit: StoreLimits.document)
    }

    // MARK: Keys

    func put(key: [UInt8], of domain: Domain) throws {
        try put(key, in: Layout.keys, of: domain)
        if let home = try home(of: domain) { Reserve(in: home).make() }
    }

    /// Adds a small object to a folder of such, under the SHA-256 of its bytes.
    private func put(_ bytes: [UInt8], in folder: String, of domain: Domain) throws {
        let home = try root.making(Layout.root).making(domain.description)
        let directory = try home.making(folder)
        let address = try Address(Digest.hex(.sha256, of: bytes))
        try home.locked {
            let newest = try history(in: directory).last()
            if let newest, newest.address == address, try read(newest, in: directory) == bytes {
                return try directory.sync()
            }
            try commit(
                bytes, as: History.Entry(address, after: newest, at: "\(url), \(domain)"), in: directory)
        }
    }

    func key(of domain: Domain) throws -> StoredKey {
        guard let directory = try home(of: domain)?.folder(Layout.keys),
            let newest = try history(in: directory).last()
        else { throw Failure(.notFound, "no key for \(domain)", at: "\(url)") }
        return StoredKey(bytes: try read(newest, in: directory), address: newest.address)
    }

    func put(file: [UInt8], named name: String) throws {
        // The top folder is a person's too: the lock lies in ours, there is no sweep, and the name tells what it is of.
        try root.making(Layout.root).locked {
            guard (try? self.get(fileNamed: name)) != file else { return }
            try pulledOutIsIO {
                try root.put(
                    file, as: name, stagedAs: ".escapepod-\(name)", mode: StagedBlob.mode, taken: .replaced)
            }
        }
    }

    func get(fileNamed name: String) throws -> [UInt8] {
        guard try root.length(of: name) != nil else {
            throw Failure(.notFound, "no file \(name)", at: "\(url)")
        }
        return try root.read(name, limit: StoreLimits.file)
    }

    // MARK: Pruning

    func put(pruning: [UInt8], of domain: Domain) throws {
        try givingUpReserve(of: domain) { try put(pruning, in: Layout.prunings, of: domain) }
    }

    /// Runs the body, and where there is no room for it, once more without the reserve.
    private func givingUpReserve(of domain: Domain, _ body: () throws -> Void) throws {
        guard let home = try home(of: domain) else { return try body() }
        try Reserve(in: home).givingUp(body)
    }

    func prunings(
        of domain: Domain, _ visit: (Address, Result<[UInt8], Failure>) throws -> Void
    ) throws {
        guard let directory = try home(of: domain)?.folder(Layout.prunings) else { return }
        for entry in try history(in: directory).all() {
            try visit(entry.address, result(of: entry, in: directory))
        }
    }

    func blobs(of domain: Domain) throws -> [BlobEntry] {
        guard let home = try home(of: domain) else { return [] }
        return try [(Layout.blobs, false), (Layout.trash, true)].flatMap { name, isTrash in
            guard let folder = try home.folder(name) else { return [BlobEntry]() }
            return try StoredBlob.files(in: folder).map { blob, files in
                let (size, modified) = try StoredBlob.extent(of: files, in: folder)
                let age = Int64(time(nil)) - modified
                return BlobEntry(
                    address: blob, size: size, age: max(0, age), state: isTrash ? .trash : .stored)
            }
        }
    }

    func discard(_ blobs: [Address], of domain: Domain) throws -> Int {
        try givingUpReserve(of: domain) { try move(blobs, from: Layout.blobs, to: Layout.trash, of: domain) }
        return 0
    }

    func recover(_ blobs: [Address], of domain: Domain) throws {
        try move(blobs, from: Layout.trash, to: Layout.blobs, of: domain)
    }

    /// A blob in parts goes first part first, and comes so last: without that one there is no blob.
    private func move(_ blobs: [Address], from source: String, to target: String, of domain: Domain) throws {
        guard let home = try home(of: domain), let old = try home.folder(source) else { return }
        let new = try home.making(target)
        try home.locked {
            let there = try StoredBlob.files(in: old)
            try pulledOutIsIO {
                for blob in blobs {
                    let files = there[blob, default: []]
                    for name in target == Layout.blobs ? files.reversed() : files {
                        // Its age there counts from now.
                        try old.touch(name)
                        try old.rename(name, into: new, as: name)
                    }
                }
                // Where it is seen first: what is in both after a crash is not lost.
                try new.sync()
                try old.sync()
            }
        }
    }

    func emptyTrash(of domain: Domain, olderThan age: Int64) throws -> UInt64 {
        guard let home = try home(of: domain) else { return 0 }
        return try home.locked {
            try pulledOutIsIO {
                for name in [Layout.blobs, Layout.metadata, Layout.prunings] {
                    if let folder = try home.folder(name) { try StagedBlob.sweep(folder) }
                }
                guard let trash = try home.folder(Layout.trash) else { return 0 }
                let now = Int64(time(nil))
                var freed: UInt64 = 0
                for (_, files) in try StoredBlob.files(in: trash) {
                    let (size, modified) = try StoredBlob.extent(of: files, in: trash)
                    guard now - modified >= age else { continue }
                    for name in files { try trash.delete(name) }
                    freed += size
                }
                try trash.sync()
                Reserve(in: home).make()
                return freed
            }
        }
    }

    func room(for domain: Domain) throws -> UInt64? { try root.freeSpace() }

    // MARK: Places and failures

    private func history(in directory: Folder) throws -> History {
        try History(of: directory.names(), at: directory.path(of: ""))
    }

    /// The domain's directory, where it has one.
    private func home(of domain: Domain) throws -> Folder? {
        try root.folder(Layout.root)?.folder(domain.description)
    }

    private func none(of domain: Domain) -> Failure {
        let names = (try? root.folder(Layout.root)?.names()) ?? []
        let domains = names.compactMap { try? Domain($0).description }.filter { $0 != domain.description }
        return Failure(
            .notFound, "no backup of \(domain)", at: "\(url)",
            hint: domains.isEmpty
                ? "the store has no other domains either"
                : "the store has \(domains.sorted().prefix(20).joined(separator: ", "))"
                    + (domains.count > 20 ? " and \(domains.count - 20) more" : ""))
    }

    private func missing(_ blob: Address, of domain: Domain) -> Failure {
        Failure(
            .notFound, "no blob \(blob)", at: "\(url), \(domain)", hint: "ep-fetch list shows what there is")
    }

    private func lost(_ parent: Address, of domain: Domain) -> Failure {
        Failure(
            .notFound, "what this backup builds on is not there: blob \(parent)", at: "\(url), \(domain)",
            hint: "escapepod verify names what is lost; escapepod backup --full-every 1h makes a full backup")
    }

    /// A file system that lost its drive turns read-only; by then that is no longer a matter of permission.
    private func pulledOutIsIO<Result>(_ body: () throws -> Result) throws -> Result {
        do { return try body() } catch let failure as Failure where failure.status == .denied {
            throw Failure(
                .io, failure.what, at: failure.place,
                hint: "the drive may have failed or been unplugged; nothing was committed")
        } catch let failure as Failure where failure.isOfFullDisk {
            throw Failure(
                .io, failure.what, at: failure.place,
                hint: "free some space there, or escapepod prune --trash-age 0; then run it again",
                code: failure.code)
        }
    }
}
