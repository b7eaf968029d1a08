import Envelope
public import JSON
import OpenSSL
public import Plumbing

/// A store's driver: the functions of the storage API, `escapepod-storage(7)`.
///
/// A driver carries sealed bytes and has no key. It need not check a stream: whoever calls it comes through the
/// functions of the extension below, which hold the checks that are the same for every store. Every function may
/// throw `unavailable` where the store does not answer, `io` where it breaks, `denied` where it refuses.
public protocol Store {
    /// Takes in a sealed blob of unknown length: to its end, on stable storage, under its address.
    ///
    /// Nothing is seen under that address before all of it is durable. Where `blob.next` throws, or anything
    /// else goes wrong, nothing stays. The same blob again is a success.
    func take(_ blob: Intake, of domain: Domain) throws

    /// Makes a blob's sealed metadata the domain's head, durably or not at all.
    ///
    /// - Parameter head: the blob of the head that it follows; nil where it is to be the first.
    /// - Throws: `busy` where the head is another; `notFound` where the blob is not there; `badData` where it is
    ///   not whole, or is in the history already. The very same metadata as the head's is a success: the answer was lost.
    func take(metadata: [UInt8], of domain: Domain, for blob: Address, following head: Address?) throws

    /// - Throws: `notFound` where the domain has no backup; the hint says which domains have.
    func last(of domain: Domain) throws -> Backup

    /// The backup that came after another one, or the first.
    ///
    /// - Throws: `notFound` where there is no further one, or where `blob` is not in the history.
    func next(of domain: Domain, after blob: Address?) throws -> Backup

    /// Every backup's blob, oldest first. The default walks `next`; a driver may know a shorter way.
    ///
    /// What the history says is not looked into: the backups behind a damaged document are still there.
    ///
    /// - Throws: `notFound` where the domain has no backup; `badData` where it has more than `History.longest`.
    func list(of domain: Domain) throws -> [Address]

    /// Keeps a sealed key beside the backups, durably; those of before stay. The same as the newest again is a success.
    func take(key: [UInt8], of domain: Domain) throws

    /// The sealed key that was stored last.
    ///
    /// - Throws: `notFound` where there is none.
    func key(of domain: Domain) throws -> StoredKey

    /// Puts a file into the top folder of a store, for a person who finds it, in place of one of that name; a store that has
    /// no such folder does nothing. The default does that.
    func leave(_ file: [UInt8], named name: String) throws

    /// The file of that name in a store's top folder, 1 MiB at most.
    ///
    /// - Throws: `notFound` where there is none. The default says that the store has no such folder, `usage`.
    func found(_ name: String) throws -> [UInt8]

    /// Adds the blob's bytes to the outlet. Whether they are the right ones is the outlet's to check.
    ///
    /// - Throws: `notFound` where there is no such blob.
    func give(_ blob: Address, of domain: Domain, to outlet: Outlet) throws
}

extension Store {
    /// Stores a sealed blob and says what it is. `source` is read to its end, and closed.
    ///
    /// - Throws: `badData` where the input is no whole sealed blob; nothing is stored then.
    public func storeBlob(of domain: Domain, from source: consuming Descriptor) throws -> Receipt {
        let intake = try Intake(reading: source)
        defer { intake.stop() }
        try intake.start()
        try take(intake, of: domain)
        return try intake.receipt()
    }

    /// Stores sealed metadata: `take(metadata:of:for:following:)` after a look at what it is.
    ///
    /// - Throws: `badData` where it is not whole sealed metadata.
    public func storeMetadata(
        _ metadata: [UInt8], of domain: Domain, for blob: Address, following head: Address?,
        from place: String
    ) throws {
        try Framing.check(metadata, .metadata, at: place)
        try take(metadata: metadata, of: domain, for: blob, following: head)
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
        try take(key: key, of: domain)
        for file in files { try leave(file.bytes, named: file.name) }
    }

    /// The sealed key that was stored last, known to be whole, and as it was stored.
    public func sealedKey(of domain: Domain) throws -> [UInt8] {
        let key = try key(of: domain)
        let place = "the sealed key of \(domain)"
        try damagedUnlessWhole(key.bytes, .key, at: place)
        if let address = key.address, try Digest.hex(.sha256, of: key.bytes) != address.hex {
            throw Failure.damaged("key", Failure(.badData, "its SHA-256 is not \(address)"), at: place)
        }
        return key.bytes
    }

    /// The file that a store has in its top folder for whoever finds it. Nobody vouches for what it says.
    ///
    /// - Throws: `usage` for anything but a single name; `notFound` where there is none.
    public func file(named name: String) throws -> [UInt8] {
        guard !name.isEmpty, !name.contains("/"), name.first != "." else {
            throw Failure(.usage, "not a file in the store's top folder", at: JSON.string(name).description)
        }
        return try found(name)
    }

    /// The newest backup's metadata, known to be whole.
    public func lastMetadata(of domain: Domain) throws -> Backup {
        try checked(last(of: domain))
    }

    /// The metadata of the backup after another one, or of the first, known to be whole.
    public func nextMetadata(of domain: Domain, after blob: Address?) throws -> Backup {
        try checked(next(of: domain, after: blob))
    }

    public func leave(_ file: [UInt8], named name: String) throws {}

    public func found(_ name: String) throws -> [UInt8] {
        throw Failure(
            .usage, "a server has no folder with files for whoever finds it",
            hint: "directories and drives have one")
    }

    public func list(of domain: Domain) throws -> [Address] { try walk(domain, atMost: History.longest) }

    func walk(_ domain: Domain, atMost most: Int) throws -> [Address] {
        var blobs = [try next(of: domain, after: nil).blob]
        var seen = Set(blobs)
        while true {
            do {
                let blob = try next(of: domain, after: blobs.last).blob
                guard seen.insert(blob).inserted else {
                    throw Failure(.badData, "the history goes round in a circle", at: "blob \(blob)")
                }
                guard blobs.count < most else { throw History.tooLong(most, at: "blob \(blob)") }
                blobs.append(blob)
            } catch let failure as Failure where failure.status == .notFound {
                return blobs
            }
        }
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
        try give(blob, of: domain, to: outlet)
        try outlet.finish()
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

// MARK: - Values

/// A key as a store has it.
public struct StoredKey {
    let bytes: [UInt8]
    /// The SHA-256 that it was stored under; nil where a server does not say.
    let address: Address?
}

/// The name of the system that is backed up; safe as a name of a directory.
public struct Domain: Hashable, Sendable, CustomStringConvertible {
    public let description: String

    /// - Throws: `usage` for anything but 1 to 253 characters of `a-z 0-9 . _ -`, not starting with a dot.
    public init(_ name: String) throws {
        guard name.isDomain else {
            throw Failure(
                .usage, "not a domain", at: JSON.string(name).description,
                hint: "a domain has 1 to 253 characters of a-z 0-9 . _ - and does not start with a dot")
        }
        description = name
    }
}

/// A blob's address: the SHA-256 of its sealed bytes.
public struct Address: Hashable, Sendable, CustomStringConvertible {
    /// 64 digits of lower-case hexadecimal.
    public let hex: String

    public var description: String { hex }

    /// - Throws: `usage` for anything else.
    public init(_ hex: String) throws {
        guard hex.isHex(bytes: 32) else {
            throw Failure(
                .usage, "not a blob's address", at: JSON.string(hex).description,
                hint: "an address is a SHA-256 in 64 digits of lower-case hexadecimal")
        }
        self.hex = hex
    }
}

/// What a blob turned out to be when it was stored.
public struct Receipt: Equatable, Sendable {
    /// The sealed length in bytes.
    public let size: UInt64
    public let sha256: Address
    /// In lower-case hexadecimal.
    public let sha512: String

    public var json: JSON {
        [
            "size": .integer(Int64(clamping: size)), "sha256": .string(sha256.hex),
            "sha512": .string(sha512),
        ]
    }
}

/// One backup of a history: its blob, and its sealed metadata.
public struct Backup: Equatable, Sendable {
    public let blob: Address
    public let metadata: [UInt8]

    public init(blob: Address, metadata: [UInt8]) {
        self.blob = blob
        self.metadata = metadata
    }
}
