import DuneSeaProtocol
import DurableFiles
import Glibc
import Plumbing
import StoreFormat

/// The blobs of a domain.
extension Shelf {
    /// The length of a blob; nil where there is none of that address.
    func size(ofBlob address: Address) async throws -> UInt64? {
        guard let blobs = folders?.blobs else { return nil }
        return try await ground.onDisk { try blobs.length(ofFile: address.hex) }
    }

    /// A blob that is there.
    func open(blob address: Address) async throws -> File {
        let blobs = try await ready().blobs
        return try await ground.onDisk { try blobs.file(address.hex, O_RDONLY) }
    }

    /// Gives a synced upload its address. Returns the length of a blob of that address that was there already: it had the
    /// same bytes, or was rotten and is healed by this.
    func keep(upload id: String, as address: Address) async throws -> UInt64? {
        let folders = try await ready()
        return try await naming.withLock {
            try await ground.onDisk {
                let there = try folders.blobs.length(ofFile: address.hex)
                try folders.unfinished.name(
                    id, in: folders.blobs, as: address.hex, taken: there == nil ? .refused : .replaced)
                return there
            }
        }
    }

    static func otherLength(_ length: UInt64) -> Refusal {
        Refusal(
            .conflict, "the store has a blob with this address and \(length) bytes",
            hint: "one of the two lengths is wrong; dunesea check verifies the store's")
    }

    static func otherDigest(_ digest: String, than address: Address) -> Refusal {
        Refusal(
            .unprocessableContent, "the bytes have the SHA-256 \(digest), not \(address)",
            hint: "send them again")
    }
}
