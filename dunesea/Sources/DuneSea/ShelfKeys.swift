import DurableFiles
import StoreFormat
import Synchronization

/// The keys of a domain.
extension Shelf {
    /// The newest key and its address; nil where there is none.
    func lastKey() async throws -> (address: Address, bytes: [UInt8])? {
        let found = state.withLock { ($0.newestKey, $0.folders?.keys) }
        guard case (let newest?, let folder?) = found else { return nil }
        return (newest.address, try await read(newest, in: folder, atMost: StoreLimits.key))
    }

    /// Makes `key` the newest one. The ones before stay.
    ///
    /// - Returns: false where it is the newest already.
    func keep(key: [UInt8], of address: Address) async throws -> Bool {
        let keys = try await ready().keys
        return try await naming.withLock {
            let newest = state.withLock { $0.newestKey }
            guard newest?.address != address else { return false }
            let entry = try entry(address, after: newest)
            try await keep(key, as: entry, in: keys, behind: newest)
            state.withLock { $0.newestKey = entry }
            return true
        }
    }
}
