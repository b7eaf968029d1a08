import DurableFiles
import StoreFormat
import Synchronization

/// The keys of a domain.
extension Shelf {
    /// The newest key and its address; nil where there is none.
    func lastKey() async throws -> (address: Address, bytes: [UInt8])? {
        let found = state.withLock { ($0.keys.last, $0.folders?.keys) }
        guard case (let newest?, let folder?) = found else { return nil }
        return (newest.address, try await read(newest, in: folder, atMost: StoreLimits.key))
    }

    /// Makes `key` the newest one. The ones before stay.
    ///
    /// - Returns: false where it is the newest already.
    func keep(key: [UInt8], of address: Address) async throws -> Bool {
        try await add(key, of: address, to: \.keys, in: ready().keys)
    }
}
