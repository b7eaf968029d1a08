import DuneSeaProtocol
import DurableFiles
import Plumbing
import StoreFormat
import Synchronization

/// What goes out of a domain, and the records of that.
extension Shelf {
    /// Keeps a record; those of before stay.
    ///
    /// - Returns: false where it is the newest already.
    func keep(pruning: [UInt8], of address: Address) async throws -> Bool {
        try await add(pruning, of: address, to: \.prunings, in: ready().prunings, usingReserve: true)
    }

    /// The records, oldest first.
    var prunings: [History.Entry] { state.withLock { $0.prunings } }

    func pruning(_ entry: History.Entry) async throws -> [UInt8] {
        try await read(entry, in: ready().prunings, atMost: StoreLimits.document)
    }

    /// Every blob, and whether it may go.
    func list() async throws -> [BlobEntry] {
        guard let folders else { return [] }
        let rules = ground.limits.pruning
        return try await ground.onDisk {
            try folders.own.locked { try Holdings(in: folders).entries(under: rules) }
        }
    }

    /// Moves to the trash what may go of those blobs.
    ///
    /// - Returns: how many of those that are there stay.
    func discard(_ wanted: [Address]) async throws -> Int {
        let rules = ground.limits.pruning
        return try await moving { folders in
            let holdings = try Holdings(in: folders)
            let leaving = holdings.leaving(wanted, under: rules)
            let held = Set(wanted.filter { holdings.stored[$0] != nil }).subtracting(leaving)
            return (try folders.discard(leaving, of: holdings), held.count)
        }
    }

    func recover(_ wanted: [Address]) async throws {
        try await moving { (try $0.recover(wanted, of: Holdings(in: $0)), ()) }
    }

    /// Removes for good what has been in the trash for long enough.
    func emptyTrash() async throws {
        guard folders != nil else { return }
        let age = ground.limits.pruning.trashAge
        try await moving { (try $0.emptyTrash(olderThan: age), ()) }
    }

    /// - Parameter body: gives the number of bytes that are no longer used.
    private func moving<Result: Sendable>(
        _ body: @escaping @Sendable (Folders) throws -> (freed: UInt64, Result)
    ) async throws -> Result {
        let folders = try await ready()
        return try await naming.withLock {
            let (freed, result) = try await ground.onDisk { try folders.own.locked { try body(folders) } }
            release(freed)
            return result
        }
    }
}
