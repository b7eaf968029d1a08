public import Plumbing
public import StoreFormat

/// A store's driver: the functions of the storage API, `escapepod-storage(7)`.
///
/// A driver carries sealed bytes and has no key. It need not check a stream: whoever calls it comes through the
/// functions of `CheckedStore.swift`, which hold the checks that are the same for every store. Every function may
/// throw `unavailable` where the store does not answer, `io` where it breaks, `denied` where it refuses.
public protocol Store {
    /// Takes in a sealed blob of unknown length: to its end, on stable storage, under its address.
    ///
    /// Nothing is seen under that address before all of it is durable. Where `blob.next` throws, or anything
    /// else goes wrong, nothing stays. The same blob again is a success.
    func put(_ blob: Intake, of domain: Domain) throws

    /// Makes a blob's sealed metadata the domain's head, durably or not at all.
    ///
    /// - Parameters:
    ///   - head: the blob of the head that it follows; nil where it is to be the first.
    ///   - parent: the blob of the backup that it builds on; nil for a full one.
    /// - Throws: `busy` where the head is another; `notFound` where the blob or the parent's is not there; `badData` where the
    ///   blob is not whole, or is in the history already. The very same metadata as the head's is a success: the answer was
    ///   lost.
    func put(
        metadata: [UInt8], of domain: Domain, for blob: Address, following head: Address?,
        buildingOn parent: Address?) throws

    /// - Throws: `notFound` where the domain has no backup; the hint says which domains have.
    func last(of domain: Domain) throws -> Backup

    /// The sealed metadata of the backup with this blob.
    ///
    /// - Throws: `notFound` where the blob is not in the history.
    func document(of blob: Address, in domain: Domain) throws -> [UInt8]

    /// Calls with every backup's blob and sealed metadata, oldest first, from one look at the history.
    ///
    /// What the metadata is, is not looked into. Where one cannot be read for a reason that is its own, `badData` or `io`,
    /// that is its result, and the others follow.
    ///
    /// - Parameter newestFirst: the other way round.
    /// - Throws: `notFound` where the domain has no backup; `badData` where it has more than `StoreLimits.history`; what
    ///   `visit` throws.
    func history(
        of domain: Domain, newestFirst: Bool, _ visit: (Address, Result<[UInt8], Failure>) throws -> Void)
        throws

    /// Every backup's blob, oldest first, from one look at the history. The default takes it from `history`; a driver may
    /// know a way without the documents. The backup of a document that is damaged or cannot be read is listed, too.
    ///
    /// - Throws: `notFound` where the domain has no backup; `badData` where it has more than `StoreLimits.history`.
    func list(of domain: Domain) throws -> [Address]

    /// Keeps a sealed key beside the backups, durably; those of before stay. The same as the newest again is a success.
    func put(key: [UInt8], of domain: Domain) throws

    /// The sealed key that was stored last.
    ///
    /// - Throws: `notFound` where there is none.
    func key(of domain: Domain) throws -> StoredKey

    /// Puts a file into the top folder of a store, for a person who finds it, in place of one of that name; a store that has
    /// no such folder does nothing. The default does that.
    func put(file: [UInt8], named name: String) throws

    /// The file of that name in a store's top folder, 1 MiB at most.
    ///
    /// - Throws: `notFound` where there is none, or where the store has no such folder: the default.
    func get(fileNamed name: String) throws -> [UInt8]

    /// Keeps a sealed record of a pruning, durably; those of before stay. The same as the newest again is a success.
    func put(pruning: [UInt8], of domain: Domain) throws

    /// Calls with each record of a pruning and its SHA-256, oldest first. Where one cannot be read for a reason that is its own,
    /// `badData` or `io`, that is its result. The default has none.
    func prunings(
        of domain: Domain, _ visit: (Address, Result<[UInt8], Failure>) throws -> Void) throws

    /// Every blob that is there, in no order, those in the trash too.
    ///
    /// - Throws: `unavailable` where the store deletes nothing, as the next three: the default.
    func blobs(of domain: Domain) throws -> [BlobEntry]

    /// Moves blobs to the trash, from where they are not read, durably. What is not there, or there already, is passed over.
    ///
    /// - Returns: how many of them the store keeps for now, by rules of its own.
    func discard(_ blobs: [Address], of domain: Domain) throws -> Int

    /// Brings them back from there, durably.
    func recover(_ blobs: [Address], of domain: Domain) throws

    /// Removes for good what came to the trash so many seconds ago, or before that, and what writers that are no more have
    /// left. A server does so by itself, at the age that is its own.
    ///
    /// - Returns: the length in bytes of what has come from the trash.
    func emptyTrash(of domain: Domain, olderThan age: Int64) throws -> UInt64

    /// How many bytes there is room for; nil where nobody knows.
    func room(for domain: Domain) throws -> UInt64?

    /// Adds the blob's bytes to the outlet. Whether they are the right ones is the outlet's to check.
    ///
    /// - Throws: `notFound` where there is no such blob.
    func get(_ blob: Address, of domain: Domain, to outlet: Outlet) throws
}

// MARK: - What a driver need not have

extension Store {
    public func put(file: [UInt8], named name: String) throws {}

    public func get(fileNamed name: String) throws -> [UInt8] {
        throw Failure(
            .notFound, "this store has no folder for files",
            hint: "\(Drivers.standard.formsWithFiles) has one")
    }

    private var keepsAll: Failure { Failure(.unavailable, "this store deletes nothing") }

    public func put(pruning: [UInt8], of domain: Domain) throws { throw keepsAll }

    public func prunings(
        of domain: Domain, _ visit: (Address, Result<[UInt8], Failure>) throws -> Void
    ) throws {}

    public func blobs(of domain: Domain) throws -> [BlobEntry] { throw keepsAll }

    public func discard(_ blobs: [Address], of domain: Domain) throws -> Int { throw keepsAll }

    public func recover(_ blobs: [Address], of domain: Domain) throws { throw keepsAll }

    public func emptyTrash(of domain: Domain, olderThan age: Int64) throws -> UInt64 { throw keepsAll }

    public func room(for domain: Domain) throws -> UInt64? { nil }

    public func list(of domain: Domain) throws -> [Address] {
        var blobs: [Address] = []
        try boundedHistory(of: domain, newestFirst: false) { blob, _ in blobs.append(blob) }
        return blobs
    }
}
