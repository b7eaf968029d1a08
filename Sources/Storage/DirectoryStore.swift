import Envelope
import Glibc
import OpenSSL
import Plumbing

/// A store in a directory or on a drive: `escapepod/<domain>/blobs/<address>` and
/// `escapepod/<domain>/metadata/<10-digit number>-<address>`; `escapepod-storage(7)` has the layout and its rules.
struct DirectoryStore: Store {
    private static let folder = "escapepod"
    /// Of the files in the top folder.
    private static let longestFile = 1 << 20

    private let root: Directory
    private let url: StoreURL

    init(root: Directory, called url: StoreURL) {
        self.root = root
        self.url = url
    }

    // MARK: Blobs

    func take(_ blob: Intake, of domain: Domain) throws {
        let home = try root.making(Self.folder).making(domain.description)
        let staged = try StagedBlob(in: try home.making("blobs"), of: home)
        defer { staged.discard() }
        try pulledOutIsIO {
            while let bytes = try blob.next() {
                try staged.write(bytes)
                blob.release()
            }
            try staged.commit(as: try blob.receipt().sha256)
        }
    }

    func give(_ blob: Address, of domain: Domain, to outlet: Outlet) throws {
        guard let blobs = try home(of: domain)?.directory("blobs"),
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

    func take(metadata: [UInt8], of domain: Domain, for blob: Address, following head: Address?) throws {
        guard let home = try home(of: domain), let blobs = try home.directory("blobs") else {
            throw missing(blob, of: domain)
        }
        let directory = try home.making("metadata")
        try home.locked {
            let history = try History(in: directory)
            let newest = try history.last()
            if let newest, newest.blob == blob,
                try read(newest, in: directory) == metadata
            {
                // The same as before: the answer was lost, perhaps with the sync in front of it.
                return try directory.sync()
            }
            guard newest?.blob == head else {
                throw Failure(
                    .busy, "the last backup is another by now: \(newest?.blob.hex ?? "none")",
                    at: "\(url), \(domain)", hint: "run the backup again: it plans on the new one")
            }
            guard !history.entries.contains(where: { $0.blob == blob }) else {
                throw Failure(
                    .badData, "this blob is in the history already: \(blob)", at: "\(url), \(domain)")
            }
            guard let stored = try StoredBlob(blob, in: blobs) else { throw missing(blob, of: domain) }
            try stored.checkWhole()
            try blobs.sync()
            let number = (newest?.number ?? 0) + 1
            guard number <= History.maximum, history.entries.count < History.longest else {
                throw Failure(.badData, "the history is full", at: "\(url), \(domain)")
            }
            try commit(metadata, as: History.name(of: blob, number: number), in: directory)
        }
    }

    /// The caller holds the domain's lock, so every staged file here is a dead writer's.
    private func commit(_ bytes: [UInt8], as name: String, in directory: Directory) throws {
        try StagedBlob.sweep(directory)
        var named = StagedBlob.name()
        let file = try directory.open(named, O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
        do {
            try pulledOutIsIO {
                try file.write(bytes)
                _ = fchmod(file.number, StagedBlob.mode)
                try file.sync()
                try directory.rename(named, toNew: name)
                named = name
                try directory.sync()
            }
        } catch {
            directory.remove(named)
            throw error
        }
    }

    func last(of domain: Domain) throws -> Backup {
        guard let directory = try home(of: domain)?.directory("metadata"),
            let newest = try History(in: directory).last()
        else { throw none(of: domain) }
        return try backup(newest, in: directory)
    }

    func next(of domain: Domain, after blob: Address?) throws -> Backup {
        guard let directory = try home(of: domain)?.directory("metadata") else { throw none(of: domain) }
        let history = try History(in: directory)
        guard !history.entries.isEmpty else { throw none(of: domain) }
        guard let entry = try history.next(after: blob) else {
            throw Failure(.notFound, "no backup follows", at: "\(url), \(domain)")
        }
        return try backup(entry, in: directory)
    }

    func list(of domain: Domain) throws -> [Address] {
        guard let directory = try home(of: domain)?.directory("metadata") else { throw none(of: domain) }
        let entries = try History(in: directory).all()
        guard !entries.isEmpty else { throw none(of: domain) }
        return entries.map(\.blob)
    }

    private func backup(_ entry: History.Entry, in directory: Directory) throws -> Backup {
        Backup(blob: entry.blob, metadata: try read(entry, in: directory))
    }

    private func read(_ entry: History.Entry, in directory: Directory) throws -> [UInt8] {
        try directory.read(entry.name, limit: Envelope.maximumSealedDocumentLength)
    }

    // MARK: Keys

    func take(key: [UInt8], of domain: Domain) throws {
        let home = try root.making(Self.folder).making(domain.description)
        let directory = try home.making("keys")
        let address = try Address(Digest.hex(.sha256, of: key))
        try home.locked {
            let newest = try History(in: directory).last()
            if let newest, newest.blob == address, try read(newest, in: directory) == key {
                return try directory.sync()
            }
            try commit(
                key, as: History.name(of: address, number: (newest?.number ?? 0) + 1), in: directory)
        }
    }

    func key(of domain: Domain) throws -> StoredKey {
        guard let directory = try home(of: domain)?.directory("keys"),
            let newest = try History(in: directory).last()
        else { throw Failure(.notFound, "no key of \(domain)", at: "\(url)") }
        return StoredKey(bytes: try read(newest, in: directory), address: newest.blob)
    }

    func leave(_ file: [UInt8], named name: String) throws {
        // The top folder is a person's too: the lock lies in ours, there is no sweep, and the name tells what it is of.
        try root.making(Self.folder).locked {
            guard (try? found(name)) != file else { return }
            let staged = ".escapepod-\(name)"
            root.remove(staged)
            let output = try root.open(staged, O_WRONLY | O_CREAT | O_EXCL, mode: 0o644)
            defer { root.remove(staged) }
            try pulledOutIsIO {
                try output.write(file)
                try output.sync()
                try root.rename(staged, to: name)
                try root.sync()
            }
        }
    }

    func found(_ name: String) throws -> [UInt8] {
        guard try root.length(of: name) != nil else {
            throw Failure(.notFound, "no file \(name)", at: "\(url)")
        }
        return try root.read(name, limit: Self.longestFile)
    }

    // MARK: Places and failures

    /// The domain's directory, where it has one.
    private func home(of domain: Domain) throws -> Directory? {
        try root.directory(Self.folder)?.directory(domain.description)
    }

    private func none(of domain: Domain) -> Failure {
        let names = (try? root.directory(Self.folder)?.names()) ?? []
        let domains = names.compactMap { try? Domain($0).description }.filter { $0 != domain.description }
        return Failure(
            .notFound, "no backup of \(domain)", at: "\(url)",
            hint: domains.isEmpty
                ? "the store has no other domain either"
                : "the store has \(domains.sorted().prefix(20).joined(separator: ", "))"
                    + (domains.count > 20 ? " and \(domains.count - 20) more" : ""))
    }

    private func missing(_ blob: Address, of domain: Domain) -> Failure {
        Failure(
            .notFound, "no blob \(blob)", at: "\(url), \(domain)", hint: "ep-fetch list shows what there is")
    }

    /// A file system that lost its drive turns read-only; by then that is no longer a matter of permission.
    private func pulledOutIsIO(_ body: () throws -> Void) throws {
        do { try body() } catch let failure as Failure where failure.status == .denied {
            throw Failure(
                .io, failure.what, at: failure.place,
                hint: "the drive may have failed or been pulled out; nothing was committed")
        }
    }
}
