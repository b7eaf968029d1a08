import Envelope
import Glibc
import HTTPTypes
import Plumbing
import Synchronization

/// One domain in a store: its blobs, its history, its keys, its unfinished uploads.
final class Shelf: Sendable {
    let domain: Domain
    private let ground: Ground
    private let state: Mutex<State>
    /// Through here goes whoever gives a file its name.
    private let naming = Turnstile()

    private struct State {
        /// Oldest first; the last one is the head.
        var history: [Entry] = []
        var position: [Address: Int] = [:]
        var newestKey: Entry?
        var uploads: [String: Upload] = [:]
        /// Bytes of blobs, metadata, keys and unfinished uploads.
        var used: UInt64 = 0
        /// The directories are there and durable.
        var ready = false
    }

    /// A file that the store counts: a document, by its blob's address, or a key, by its own.
    struct Entry {
        let number: UInt64
        let address: Address

        private static let greatest: UInt64 = 9_999_999_999

        var fileName: String { "\(number.padded(to: 10))-\(address)" }

        private init(number: UInt64, address: Address) {
            self.number = number
            self.address = address
        }

        init?(fileName: String) {
            guard fileName.utf8.count == 75, let number = UInt64(fileName.prefix(10)),
                let address = Address(fileName.dropFirst(11))
            else { return nil }
            self.init(number: number, address: address)
            guard self.fileName == fileName else { return nil }
        }

        /// The one behind `last`, or the first.
        init(_ address: Address, after last: Entry?) throws {
            let number = (last?.number ?? 0) + 1
            guard number <= Entry.greatest else {
                throw Refusal(.insufficientStorage, "the domain's numbers are used up")
            }
            self.init(number: number, address: address)
        }
    }

    /// A domain without anything.
    init(_ domain: Domain, on ground: Ground) {
        self.domain = domain
        self.ground = ground
        state = Mutex(State())
    }

    private var blobs: String { "\(ground.directory)/escapepod/\(domain)/blobs" }
    private var metadata: String { "\(ground.directory)/escapepod/\(domain)/metadata" }
    private var keys: String { "\(ground.directory)/escapepod/\(domain)/keys" }
    private var unfinished: String { "\(ground.directory)/dunesea/uploads/\(domain)" }

    func path(ofBlob address: Address) -> String { "\(blobs)/\(address)" }
}

// MARK: - Starting

extension Shelf {
    /// Reads what is there, and makes it durable. Blocks.
    convenience init(loading domain: Domain, on ground: Ground) throws {
        self.init(domain, on: ground)
        try makeDirectories()
        var found = State()
        found.ready = true
        for name in try Directory.names(blobs) where Address(name) != nil {
            found.used = found.used.addingClamped(try Directory.size("\(blobs)/\(name)") ?? 0)
        }
        for entry in try entries(of: metadata, countedIn: &found.used) {
            found.position[entry.address] = found.history.count
            found.history.append(entry)
        }
        found.newestKey = try entries(of: keys, countedIn: &found.used).last
        for name in try Directory.names(unfinished) {
            let path = "\(unfinished)/\(name)"
            guard Upload.isID(name) else {
                // A document or a key whose writer was killed.
                try Directory.remove(path)
                continue
            }
            let upload = try Upload(resuming: name, at: path, on: self, ground)
            found.uploads[name] = upload
            found.used = found.used.addingClamped(upload.offset)
        }
        state.withLock { $0 = found }
    }

    private func entries(of folder: String, countedIn bytes: inout UInt64) throws -> [Entry] {
        let entries = try Directory.names(folder).sorted().compactMap(Entry.init)
        for entry in entries {
            bytes = bytes.addingClamped(try Directory.size("\(folder)/\(entry.fileName)") ?? 0)
        }
        return entries
    }

    private func makeDirectories() throws {
        let own = "\(ground.directory)/escapepod/\(domain)"
        for directory in [unfinished, own, blobs, metadata, keys] { try Directory.make(directory) }
        // What is in them first, then their own names.
        for directory in [unfinished, blobs, metadata, keys, own] { try Directory.sync(directory) }
        try Directory.sync("\(ground.directory)/dunesea/uploads")
        try Directory.sync("\(ground.directory)/escapepod")
    }

    private func makeReady() async throws {
        try await naming.pass {
            guard !state.withLock({ $0.ready }) else { return }
            try await ground.onDisk { try self.makeDirectories() }
            state.withLock { $0.ready = true }
        }
    }
}

// MARK: - Room

extension Shelf {
    var used: UInt64 { state.withLock { $0.used } }
    var backups: Int { state.withLock { $0.history.count } }

    /// - Throws: `Refusal` 507 where `bytes` more would be too much.
    func reserve(_ bytes: UInt64) throws {
        try state.withLock { state in
            try check(bytes, on: state)
            state.used = state.used.addingClamped(bytes)
        }
    }

    func checkRoom(for bytes: UInt64) throws {
        try state.withLock { try check(bytes, on: $0) }
    }

    private func check(_ bytes: UInt64, on state: borrowing State) throws {
        guard let limit = ground.limits.domainBytes else { return }
        let (sum, overflow) = state.used.addingReportingOverflow(bytes)
        guard !overflow, sum <= limit else {
            throw Refusal(
                .insufficientStorage,
                "the domain's quota of \(limit) bytes is used up: \(state.used) are taken",
                hint: "the operator of the store can give it more")
        }
    }

    func release(_ bytes: UInt64) {
        state.withLock { $0.used -= min(bytes, $0.used) }
    }
}

// MARK: - Uploads

extension Shelf {
    var uploads: [Upload] { state.withLock { Array($0.uploads.values) } }

    func upload(_ id: String) throws -> Upload {
        guard let upload = state.withLock({ $0.uploads[id] }) else {
            throw Refusal(
                .notFound, "no such unfinished upload",
                hint: "it was finished, or removed after a fault or for its age; begin a new one")
        }
        return upload
    }

    /// Opens an upload.
    ///
    /// - Throws: `Refusal` 429 where there are too many unfinished ones.
    func open() async throws -> Upload {
        try await makeReady()
        let id = randomHex(bytes: 16)
        let upload = Upload(id, at: "\(unfinished)/\(id)", on: self, ground)
        try state.withLock { state in
            guard state.uploads.count < ground.limits.uploads else {
                throw Refusal(
                    .tooManyRequests,
                    "the domain has \(state.uploads.count) unfinished uploads, the most allowed",
                    hint: "finish one, DELETE one, or wait until they are removed for their age",
                    headers: [.retryAfter: "60"])
            }
            state.uploads[id] = upload
        }
        do {
            try await upload.create()
        } catch {
            forget(upload)
            throw error
        }
        return upload
    }

    func forget(_ upload: Upload) {
        state.withLock { _ = $0.uploads.removeValue(forKey: upload.id) }
    }
}

// MARK: - Blobs

extension Shelf {
    /// The length of a blob; nil where there is none of that address.
    func size(ofBlob address: Address) async throws -> UInt64? {
        let path = path(ofBlob: address)
        return try await ground.onDisk { try Directory.size(path) }
    }

    /// Gives a synced file its address. Returns the length of a blob of that address that was there already: it had the same
    /// bytes, or was rotten and is healed by this.
    func keep(_ path: String, as address: Address) async throws -> UInt64? {
        let target = self.path(ofBlob: address)
        let directory = blobs
        return try await naming.pass {
            try await ground.onDisk {
                guard let there = try Directory.size(target) else {
                    try Shelf.name(path, target, in: directory)
                    return nil
                }
                try Directory.rename(path, target)
                try Directory.sync(directory)
                return there
            }
        }
    }

    static func otherLength(_ length: UInt64) -> Refusal {
        Refusal(
            .conflict, "the store has a blob of this address with \(length) bytes",
            hint: "one of the two lengths is wrong; dunesea check verifies the store's")
    }

    static func otherDigest(_ digest: String, than address: Address) -> Refusal {
        Refusal(
            .unprocessableContent, "the bytes have the SHA-256 \(digest), not \(address)",
            hint: "send them again")
    }

    /// A name that cannot be made durable is taken away again, so that nobody ever builds on it.
    private static func name(_ path: String, _ target: String, in directory: String) throws {
        try Directory.rename(path, toNew: target)
        do {
            try Directory.sync(directory)
        } catch {
            try? Directory.remove(target)
            throw error
        }
    }
}

// MARK: - History

extension Shelf {
    /// The head; nil before the first backup.
    var last: Address? { state.withLock { $0.history.last?.address } }

    /// The backup after that of `address`, or the first for nil; nil where there is none.
    func next(after address: Address?) -> Address? {
        state.withLock { state in
            guard let address else { return state.history.first?.address }
            guard let position = state.position[address], position + 1 < state.history.count else {
                return nil
            }
            return state.history[position + 1].address
        }
    }

    /// The sealed document of a backup.
    func document(of address: Address) async throws -> [UInt8]? {
        guard let backup = state.withLock({ state in state.position[address].map { state.history[$0] } })
        else {
            return nil
        }
        return try await read("\(metadata)/\(backup.fileName)", atMost: Envelope.maximumSealedDocumentLength)
    }

    /// Makes the backup of `blob` the head, if the head is still that of `follows`.
    ///
    /// - Returns: false where it is the head already, with the same document.
    /// - Throws: `Refusal` 409 where the head moved, 424 where the blob is not there.
    func advance(to blob: Address, following follows: Address?, document: [UInt8]) async throws -> Bool {
        try await makeReady()
        return try await naming.pass {
            let head = state.withLock { $0.history.last }
            if head?.address == blob, try await self.document(of: blob) == document { return false }
            guard head?.address == follows else {
                throw Refusal(
                    .conflict,
                    "the head is \(head.map { "\($0.address)" } ?? "none"), not \(follows.map { "\($0)" } ?? "none")",
                    hint: "get the last metadata and plan again",
                    headers: head.map { [.backupBlob: "\($0.address)"] } ?? [:])
            }
            guard state.withLock({ $0.position[blob] == nil }) else {
                throw Refusal(.unprocessableContent, "this blob's backup is in the history already")
            }
            guard try await size(ofBlob: blob) != nil else {
                throw Refusal(.failedDependency, "the blob is not in the store", hint: "store the blob first")
            }
            let backup = try Entry(blob, after: head)
            try await keep(document, as: backup, in: metadata)
            state.withLock { state in
                state.position[blob] = state.history.count
                state.history.append(backup)
            }
            return true
        }
    }
}

// MARK: - Keys

extension Shelf {
    /// Much more than a sealed stream of kind key has.
    static let longestKey = 4096

    /// The newest key and its address; nil where there is none.
    func lastKey() async throws -> (address: Address, bytes: [UInt8])? {
        guard let newest = state.withLock({ $0.newestKey }) else { return nil }
        return (
            newest.address, try await read("\(keys)/\(newest.fileName)", atMost: Shelf.longestKey)
        )
    }

    /// Makes `key` the newest one. The ones before stay.
    ///
    /// - Returns: false where it is the newest already.
    func keep(key: [UInt8], of address: Address) async throws -> Bool {
        try await makeReady()
        return try await naming.pass {
            let newest = state.withLock { $0.newestKey }
            guard newest?.address != address else { return false }
            let entry = try Entry(address, after: newest)
            try await keep(key, as: entry, in: keys)
            state.withLock { $0.newestKey = entry }
            return true
        }
    }
}

// MARK: - Small files

extension Shelf {
    private func read(_ path: String, atMost limit: Int) async throws -> [UInt8] {
        try await ground.onDisk {
            let file = try File(path, O_RDONLY)
            return try file.read(at: 0, count: min(Int(clamping: file.size()), limit))
        }
    }

    /// Brings a whole file to stable storage, then its name. The caller has passed `naming`.
    private func keep(_ bytes: [UInt8], as entry: Entry, in folder: String) async throws {
        try reserve(UInt64(bytes.count))
        do {
            try await ground.onDisk { try self.write(bytes, "\(folder)/\(entry.fileName)", in: folder) }
        } catch {
            release(UInt64(bytes.count))
            throw error
        }
    }

    private func write(_ bytes: [UInt8], _ target: String, in folder: String) throws {
        let temporary = "\(unfinished)/document"
        do {
            try Directory.remove(temporary)
            let file = try File(temporary, O_WRONLY | O_CREAT | O_EXCL)
            try bytes.withUnsafeBytes { try file.write($0, at: 0) }
            try file.sync()
            try Shelf.name(temporary, target, in: folder)
        } catch {
            try? Directory.remove(temporary)
            throw error
        }
    }
}
