import DuneSeaProtocol
import DurableFiles
import Glibc
import HTTPTypes
import Plumbing
import StoreFormat
import Synchronization

/// The history of a domain.
extension Shelf {
    /// The head; nil before the first backup.
    var last: Address? { state.withLock { $0.history.last?.address } }

    /// Every backup's blob, oldest first.
    var blobs: [Address] { state.withLock { $0.history.map(\.address) } }

    /// Whether there is a backup with this blob.
    func has(_ blob: Address) -> Bool { state.withLock { $0.position[blob] != nil } }

    /// The sealed document of a backup.
    func document(of address: Address) async throws -> [UInt8]? {
        let found = state.withLock { state in
            state.position[address].map { (state.history[$0], state.folders?.metadata) }
        }
        guard case (let entry, let folder?)? = found else { return nil }
        return try await read(entry, in: folder, atMost: StoreLimits.document)
    }

    /// Makes the backup of `blob` the head, if the head is still that of `follows`.
    ///
    /// - Parameter parent: the blob of the backup that it builds on; nil for a full one.
    /// - Returns: false where it is the head already, with the same document.
    /// - Throws: `Refusal` 409 where the head moved, 424 where the blob or the parent's is not there.
    func advance(
        to blob: Address, following follows: Address?, buildingOn parent: Address?, document: [UInt8]
    ) async throws -> Bool {
        let folders = try await ready()
        return try await naming.withLock {
            let head = state.withLock { $0.history.last }
            if head?.address == blob, try await self.document(of: blob) == document { return false }
            guard head?.address == follows else {
                throw Refusal(
                    .conflict,
                    "the head is \(head.map { "\($0.address)" } ?? "none"), not \(follows.map { "\($0)" } ?? "none")",
                    hint: "fetch the last metadata and plan again",
                    headers: head.map { [.backupBlob: "\($0.address)"] } ?? [:])
            }
            guard state.withLock({ $0.position[blob] == nil }) else {
                throw Refusal(.unprocessableContent, "this blob is already in the history")
            }
            if let parent, state.withLock({ $0.position[parent] == nil }) {
                throw Refusal(
                    .failedDependency, "what this backup builds on is no backup here: blob \(parent)",
                    hint: "fetch the last metadata and plan again")
            }
            let backup = try entry(blob, after: head)
            try await keep(document, as: backup, in: folders.metadata, behind: head) {
                try folders.require(blob, buildingOn: parent)
                try Receipt(of: backup.name, parent: parent, received: Int64(time(nil))).keep(
                    in: folders.records)
            }
            state.withLock { $0.append(backup) }
            return true
        }
    }
}

// MARK: - Small files

extension Shelf {
    /// A small file of the domain's, or as much of it as there may be.
    func read(_ entry: History.Entry, in folder: Folder, atMost limit: Int) async throws -> [UInt8] {
        try await ground.onDisk {
            let file = try folder.file(entry.name, O_RDONLY)
            return try file.read(at: 0, count: min(Int(clamping: file.length()), limit))
        }
    }

    /// Brings a whole file to stable storage, then its name. The caller holds `naming`.
    ///
    /// - Parameters:
    ///   - last: the entry that it comes behind.
    ///   - usingReserve: it makes room, and so may be written where there is none.
    ///   - first: what has to have happened before; it may refuse.
    func keep(
        _ bytes: [UInt8], as entry: History.Entry, in folder: Folder, behind last: History.Entry?,
        usingReserve: Bool = false,
        first: @escaping @Sendable () throws -> Void = {}
    ) async throws {
        let folders = try await ready()
        try reserve(UInt64(bytes.count), beyond: usingReserve ? Reserve.length : 0)
        @Sendable func put() throws {
            try folder.put(
                bytes, as: entry.name, stagedAs: "document", in: folders.unfinished, mode: 0o600,
                taken: .refused)
        }
        do {
            try await ground.onDisk {
                try folders.own.locked {
                    if self.ground.isShared, try self.entries(of: folder).last != last {
                        throw Refusal(
                            .conflict, "another client was faster",
                            hint: "fetch the last metadata and plan again")
                    }
                    try first()
                    try usingReserve ? folders.reserve.givingUp(put) : put()
                }
            }
        } catch {
            release(UInt64(bytes.count))
            throw error
        }
    }

    /// Adds a small object under its own SHA-256 to a list of such, whose last is the newest.
    ///
    /// - Returns: false where it is the newest already.
    func add(
        _ bytes: [UInt8], of address: Address, to list: WritableKeyPath<State, [History.Entry]>,
        in folder: Folder, usingReserve: Bool = false
    ) async throws -> Bool {
        try await naming.withLock {
            let newest = state.withLock { $0[keyPath: list].last }
            guard newest?.address != address else { return false }
            let entry = try entry(address, after: newest)
            try await keep(bytes, as: entry, in: folder, behind: newest, usingReserve: usingReserve)
            state.withLock { $0[keyPath: list].append(entry) }
            return true
        }
    }

    /// The entry behind the last.
    func entry(_ address: Address, after last: History.Entry?) throws -> History.Entry {
        do { return try History.Entry(address, after: last, at: "\(domain)") } catch let failure as Failure {
            throw Refusal(.insufficientStorage, failure.what, hint: failure.hint)
        }
    }
}
