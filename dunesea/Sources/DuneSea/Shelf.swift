import Envelope
import Glibc
import HTTPTypes
import Plumbing
import Synchronization

/// One domain in a store: its blobs, its history, its unfinished uploads.
final class Shelf: Sendable {
    let domain: Domain
    private let ground: Ground
    private let state: Mutex<State>
    /// Through here goes whoever gives a file its name.
    private let naming = Turnstile()

    private struct State {
        /// Oldest first; the last one is the head.
        var history: [Backup] = []
        var position: [Address: Int] = [:]
        var uploads: [String: Upload] = [:]
        /// Bytes of blobs, metadata and unfinished uploads.
        var used: UInt64 = 0
        /// The directories are there and durable.
        var ready = false
    }

    struct Backup {
        let number: UInt64
        let blob: Address

        var fileName: String { "\(number.padded(to: 10))-\(blob)" }

        init(number: UInt64, blob: Address) {
            self.number = number
            self.blob = blob
        }

        init?(fileName: String) {
            guard fileName.utf8.count == 75, let number = UInt64(fileName.prefix(10)),
                let blob = Address(fileName.dropFirst(11))
            else { return nil }
            self.init(number: number, blob: blob)
            guard self.fileName == fileName else { return nil }
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
            found.used += try Directory.size("\(blobs)/\(name)") ?? 0
        }
        for name in try Directory.names(metadata).sorted() {
            guard let backup = Backup(fileName: name) else { continue }
            found.used += try Directory.size("\(metadata)/\(name)") ?? 0
            found.position[backup.blob] = found.history.count
            found.history.append(backup)
        }
        for name in try Directory.names(unfinished) {
            let path = "\(unfinished)/\(name)"
            guard Upload.isID(name) else {
                // A document whose writer was killed.
                try Directory.remove(path)
                continue
            }
            let upload = try Upload(resuming: name, at: path, on: self, ground)
            found.uploads[name] = upload
            found.used += upload.offset
        }
        state.withLock { $0 = found }
    }

    private func makeDirectories() throws {
        let own = "\(ground.directory)/escapepod/\(domain)"
        for directory in [unfinished, own, blobs, metadata] { try Directory.make(directory) }
        // What is in them first, then their own names.
        for directory in [unfinished, blobs, metadata, own] { try Directory.sync(directory) }
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
            state.used += bytes
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

    /// Gives a synced file its address. Returns false where a blob of that address was there already: then the file is
    /// removed, and its bytes no longer count.
    func keep(_ path: String, length: UInt64, as address: Address) async throws -> Bool {
        let target = self.path(ofBlob: address)
        let directory = blobs
        return try await naming.pass {
            try await ground.onDisk {
                if let there = try Directory.size(target) {
                    guard there == length else { throw Shelf.otherLength(there) }
                    try Directory.remove(path)
                    return false
                }
                try Shelf.name(path, target, in: directory)
                return true
            }
        }
    }

    static func otherLength(_ length: UInt64) -> Refusal {
        Refusal(
            .conflict, "the store has a blob of this address with \(length) bytes",
            hint: "one of the two lengths is wrong; dunesea check verifies the store's")
    }

    /// A name that cannot be made durable is taken away again, so that nobody ever builds on it.
    private static func name(_ path: String, _ target: String, in directory: String) throws {
        try Directory.rename(path, target)
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
    var last: Address? { state.withLock { $0.history.last?.blob } }

    /// The backup after that of `address`, or the first for nil; nil where there is none.
    func next(after address: Address?) -> Address? {
        state.withLock { state in
            guard let address else { return state.history.first?.blob }
            guard let position = state.position[address], position + 1 < state.history.count else {
                return nil
            }
            return state.history[position + 1].blob
        }
    }

    /// The sealed document of a backup.
    func document(of address: Address) async throws -> [UInt8]? {
        guard let backup = state.withLock({ state in state.position[address].map { state.history[$0] } })
        else {
            return nil
        }
        let path = "\(metadata)/\(backup.fileName)"
        return try await ground.onDisk {
            let file = try File(path, O_RDONLY)
            let length = Int(clamping: try file.size())
            return try file.read(at: 0, count: min(length, Envelope.maximumSealedDocumentLength))
        }
    }

    /// Makes the backup of `blob` the head, if the head is still that of `follows`.
    ///
    /// - Returns: false where it is the head already, with the same document.
    /// - Throws: `Refusal` 409 where the head moved, 424 where the blob is not there.
    func advance(to blob: Address, following follows: Address?, document: [UInt8]) async throws -> Bool {
        try await makeReady()
        return try await naming.pass {
            let head = state.withLock { $0.history.last }
            if head?.blob == blob {
                guard try await self.document(of: blob) == document else {
                    throw moved("this blob's backup is the head already, with another document")
                }
                return false
            }
            guard head?.blob == follows else {
                throw moved(
                    "the head is \(head.map { "\($0.blob)" } ?? "none"), not \(follows.map { "\($0)" } ?? "none")"
                )
            }
            guard state.withLock({ $0.position[blob] == nil }) else {
                throw moved("this blob's backup is in the history already")
            }
            guard try await size(ofBlob: blob) != nil else {
                throw Refusal(.failedDependency, "the blob is not in the store", hint: "store the blob first")
            }
            let backup = Backup(number: (head?.number ?? 0) + 1, blob: blob)
            try reserve(UInt64(document.count))
            do {
                try await ground.onDisk { try self.write(document, as: backup) }
            } catch {
                release(UInt64(document.count))
                throw error
            }
            state.withLock { state in
                state.position[blob] = state.history.count
                state.history.append(backup)
            }
            return true
        }
    }

    private func moved(_ what: String) -> Refusal {
        Refusal(
            .conflict, what, hint: "get the last metadata and plan again",
            headers: last.map { [.backupBlob: "\($0)"] } ?? [:])
    }

    private func write(_ document: [UInt8], as backup: Backup) throws {
        let temporary = "\(unfinished)/metadata"
        do {
            let file = try File(temporary, O_WRONLY | O_CREAT | O_TRUNC)
            try document.withUnsafeBytes { try file.write($0, at: 0) }
            try file.sync()
            try Shelf.name(temporary, "\(metadata)/\(backup.fileName)", in: metadata)
        } catch {
            try? Directory.remove(temporary)
            throw error
        }
    }
}
