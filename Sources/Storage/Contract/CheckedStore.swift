import Envelope
import JSON
import OpenSSL
public import Plumbing
public import StoreFormat

/// What whoever uses a store calls: the checks that are the same for every driver.
extension Store {
    /// Stores a sealed blob and says what it is. `source` is read to its end, and closed.
    ///
    /// - Throws: `badData` where the input is no whole sealed blob; nothing is stored then.
    public func storeBlob(of domain: Domain, from source: consuming Descriptor) throws -> Receipt {
        let intake = try Intake(reading: source)
        defer { intake.stop() }
        try intake.start()
        try put(intake, of: domain)
        return try intake.receipt()
    }

    /// Stores sealed metadata: `put(metadata:of:for:following:buildingOn:)` after a look at what it is.
    ///
    /// - Throws: `badData` where it is not whole sealed metadata.
    public func storeMetadata(
        _ metadata: [UInt8], of domain: Domain, for blob: Address, following head: Address?,
        buildingOn parent: Address?, from place: String
    ) throws {
        try Framing.check(metadata, .metadata, at: place)
        try put(metadata: metadata, of: domain, for: blob, following: head, buildingOn: parent)
    }

    /// Stores a key that is sealed under a passphrase.
    ///
    /// - Parameter files: names and bytes of what a person who finds the store should find beside it.
    /// - Throws: `badData` where it is no such thing: a plain key never goes to a store.
    public func storeKey(
        _ key: [UInt8], of domain: Domain, from place: String,
        with files: [(name: String, bytes: [UInt8])] = []
    ) throws {
        try Framing.check(key, .key, at: place)
        try put(key: key, of: domain)
        for file in files { try put(file: file.bytes, named: file.name) }
    }

    /// Stores a sealed record of a pruning.
    ///
    /// - Throws: `badData` where it is none.
    public func storePruning(_ pruning: [UInt8], of domain: Domain, from place: String) throws {
        try Framing.check(pruning, .pruning, at: place)
        try put(pruning: pruning, of: domain)
    }

    /// The sealed key that was stored last, known to be whole, and as it was stored.
    public func sealedKey(of domain: Domain) throws -> [UInt8] {
        let key = try key(of: domain)
        let place = "the sealed key of \(domain)"
        try damagedUnlessWhole(key.bytes, .key, at: place)
        if let address = key.address, try Digest.hex(.sha256, of: key.bytes) != address.hex {
            throw Failure.damaged(
                "key", Failure(.badData, "its SHA-256 does not match \(address)"), at: place)
        }
        return key.bytes
    }

    /// The file that a store has in its top folder for whoever finds it. Nobody vouches for what it says.
    ///
    /// - Throws: `usage` for anything but a single name; `notFound` where there is none.
    public func file(named name: String) throws -> [UInt8] {
        guard !name.isEmpty, !name.contains("/"), name.first != "." else {
            throw Failure(
                .usage, "not the name of a file in the store's top folder", at: JSON.string(name).description)
        }
        return try get(fileNamed: name)
    }

    /// The newest backup's metadata, known to be whole.
    public func lastMetadata(of domain: Domain) throws -> Backup {
        try checked(last(of: domain))
    }

    /// The metadata of the backup with this blob, known to be whole.
    public func metadata(of blob: Address, in domain: Domain) throws -> Backup {
        try checked(Backup(blob: blob, metadata: document(of: blob, in: domain)))
    }

    /// Writes the metadata of every backup, and behind that the records of all prunings, to `sink`, as a series, `Series`.
    ///
    /// - Parameters:
    ///   - orNone: a domain without a backup has a series without a document.
    ///   - complain: hears of those that are damaged or cannot be read; the series says so, too.
    /// - Returns: whether all are there.
    /// - Throws: `notFound` where the domain has no backup; `badData` where it has more than `StoreLimits.history`, or one
    ///   of them twice.
    public func fetchHistory(
        of domain: Domain, newestFirst: Bool, orNone: Bool = false, to sink: borrowing Descriptor,
        complain: (Failure) -> Void
    ) throws -> Bool {
        sink.widenPipe()
        var (count, isWhole) = (UInt64(0), true)
        do {
            try boundedHistory(of: domain, newestFirst: newestFirst) { blob, result in
                count += 1
                do {
                    let metadata = try checked(Backup(blob: blob, metadata: result.get())).metadata
                    try sink.write(
                        Series.bytes(of: .document(address: blob.bytes, length: metadata.count)) + metadata)
                } catch let failure as Failure where [.badData, .io].contains(failure.status) {
                    complain(failure)
                    isWhole = false
                    try sink.write(Series.bytes(of: .missing(address: blob.bytes, status: failure.status)))
                }
            }
        } catch let failure as Failure where failure.status == .notFound && orNone && count == 0 {}
        var prunings = 0
        try self.prunings(of: domain) { address, result in
            var pruning: [UInt8]
            do {
                pruning = try result.get()
                try damagedUnlessWhole(pruning, .pruning, at: "the pruning \(address)")
            } catch let failure as Failure where [.badData, .io].contains(failure.status) {
                complain(failure)
                isWhole = false
                // One that does not open stands for it.
                pruning = Series.unopenable
            }
            count += 1
            prunings += 1
            guard prunings <= StoreLimits.history else {
                throw History.tooLong(StoreLimits.history, at: "\(domain)")
            }
            try sink.write(
                Series.bytes(of: .pruning(address: address.bytes, length: pruning.count)) + pruning)
        }
        try sink.write(Series.bytes(of: .end(count: count)))
        return isWhole
    }

    /// Writes a blob to `sink`, and closes it. The blob's last bytes go only if all of it is right.
    ///
    /// - Parameters:
    ///   - size: the length in bytes that it must have, where it is known.
    ///   - sha512: the SHA-512 that it must have, where it is known.
    /// - Throws: `badData` where the stored blob is damaged.
    public func fetchBlob(
        _ blob: Address, of domain: Domain, to sink: consuming Descriptor, size: UInt64? = nil,
        sha512: String? = nil
    ) throws {
        let outlet = try Outlet(to: sink, expecting: blob, size: size, sha512: sha512)
        defer { outlet.stop() }
        try outlet.start()
        try get(blob, of: domain, to: outlet)
        try outlet.finish()
    }

    /// `history`, and an end of it, whatever the store says.
    ///
    /// - Throws: `badData` where a backup comes twice, or more than `most` come.
    func boundedHistory(
        of domain: Domain, newestFirst: Bool, atMost most: Int = StoreLimits.history,
        _ visit: (Address, Result<[UInt8], Failure>) throws -> Void
    ) throws {
        var seen: Set<Address> = []
        try history(of: domain, newestFirst: newestFirst) { blob, result in
            guard seen.insert(blob).inserted else {
                throw Failure(
                    .badData, "the history goes round in a circle", at: "\(domain), blob \(blob)")
            }
            guard seen.count <= most else { throw History.tooLong(most, at: "\(domain)") }
            try visit(blob, result)
        }
    }

    private func checked(_ backup: Backup) throws -> Backup {
        try damagedUnlessWhole(
            backup.metadata, .metadata, at: "the metadata of blob \(backup.blob)")
        return backup
    }

    private func damagedUnlessWhole(_ bytes: [UInt8], _ kind: Envelope.Kind, at place: String) throws {
        do { try Framing.check(bytes, kind, at: place) } catch let failure as Failure
            where failure.status == .badData
        {
            throw Failure.damaged("\(kind)", failure, at: place)
        }
    }
}

extension Failure {
    /// What a stage would say of a stream that comes in, said of one that lies in a store.
    static func damaged(_ kind: String, _ failure: Failure, at place: String) -> Failure {
        Failure(
            .badData, "the stored \(kind) is damaged: \(failure.what)", at: place,
            hint: "the drive may be failing; make a new full backup, or use another copy of the store")
    }
}
