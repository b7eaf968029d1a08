import Envelope
public import JSON
import OpenSSL
import Plumbing

/// How a backup came to be: `escapepod-metadata(5)`.
public enum BackupType: String, Sendable {
    case full
    case incremental
}

/// What wrote a document: three versions, for the person who has to read it in ten years.
public struct Producer: Sendable {
    public let escapepod: String
    public let kernel: String
    public let btrfsProgs: String
    /// The version of the protocol of btrfs send: 1 unless the document says another.
    public let sendProtocol: Int64
    let others: [JSON.Member]

    public init(escapepod: String, kernel: String, btrfsProgs: String, sendProtocol: Int64 = 1) {
        self.escapepod = escapepod
        self.kernel = kernel
        self.btrfsProgs = btrfsProgs
        self.sendProtocol = sendProtocol
        self.others = []
    }

    init(_ members: Members) throws {
        escapepod = try members.text("escapepod")
        kernel = try members.text("kernel")
        btrfsProgs = try members.text("btrfs-progs")
        sendProtocol = members.contains("send-protocol") ? try members.integer("send-protocol") : 1
        guard (1...3).contains(sendProtocol) else {
            throw members.failure("send-protocol", "is \(sendProtocol), not 1 to 3")
        }
        others = members.others(than: ["escapepod", "kernel", "btrfs-progs", "send-protocol"])
    }

    var json: JSON {
        let known: [JSON.Member] = [
            .init("escapepod", .string(escapepod)), .init("kernel", .string(kernel)),
            .init("btrfs-progs", .string(btrfsProgs)),
        ]
        let version: [JSON.Member] =
            sendProtocol == 1 ? [] : [.init("send-protocol", .integer(sendProtocol))]
        return .object(known + version + others)
    }
}

/// One backup: a document without its links, `previous`, `parent`, `chain` and `members`.
public struct Backup: Equatable, Sendable {
    /// The last number that there is: as many as a store counts, in ten digits.
    public static let lastGeneration: Int64 = 9_999_999_999

    public let domain: String
    /// Counts the backups of a domain from 1, across full ones too; those that a store lost leave a gap.
    public let generation: Int64
    public let type: BackupType
    /// The snapshot's UUID, as its send stream names it.
    public let uuid: String
    /// When the snapshot was taken, RFC 3339, UTC, whole seconds.
    public let date: String
    /// The sealed blob's length in bytes, and its digests in lower-case hex.
    public let size: Int64
    public let sha512: String
    public let sha256: String
    /// The length of the send stream in bytes, where it was compressed before it was sealed; else nil.
    public let uncompressed: Int64?
    public let producer: Producer
    /// Members that this version does not know; kept, and written back behind the others.
    let others: [JSON.Member]

    init(
        domain: String, generation: Int64, type: BackupType, uuid: String, date: String, receipt: Receipt,
        uncompressed: Int64?, producer: Producer
    ) {
        self.domain = domain
        self.generation = generation
        self.type = type
        self.uuid = uuid
        self.date = date
        self.size = receipt.size
        self.sha512 = receipt.sha512
        self.sha256 = receipt.sha256
        self.uncompressed = uncompressed
        self.producer = producer
        self.others = []
    }

    init(_ members: Members) throws {
        let version = try members.integer("version")
        guard version == 1 else {
            let failure = members.failure("version", "is \(version), not 1")
            throw Failure(
                failure.status, failure.what, at: failure.place, hint: "a newer escapepod may have written it"
            )
        }
        domain = try members.domain("domain")
        generation = try members.generation("generation")
        type = try members.type("type")
        uuid = try members.uuid("uuid")
        date = try members.date("date")
        size = try members.size("size")
        sha512 = try members.digest("sha512", bytes: 64)
        sha256 = try members.digest("sha256", bytes: 32)
        uncompressed =
            members.contains("uncompressed")
            ? try members.count("uncompressed", from: 1, to: Int64(Envelope.maximumLength)) : nil
        producer = try Producer(members.object("producer"))
        others = members.others(
            than: [
                "version", "domain", "generation", "type", "uuid", "date", "size", "sha512", "sha256",
                "uncompressed", "producer",
            ] + Backup.links)
    }

    /// What a document has beside them.
    static let links = ["previous", "parent", "chain", "members"]

    /// The members in the order of `escapepod-metadata(5)`.
    public var json: JSON { json(with: []) }

    fileprivate func json(with links: [JSON.Member]) -> JSON {
        let known: [JSON.Member] = [
            .init("version", 1), .init("domain", .string(domain)), .init("generation", .integer(generation)),
            .init("type", .string(type.rawValue)), .init("uuid", .string(uuid)), .init("date", .string(date)),
            .init("size", .integer(size)), .init("sha512", .string(sha512)),
            .init("sha256", .string(sha256)),
        ]
        let length = uncompressed.map { [JSON.Member("uncompressed", .integer($0))] } ?? []
        return .object(known + length + [.init("producer", producer.json)] + links + others)
    }

    /// Equal in every member, those of the producer and the unknown ones too.
    public static func == (one: Backup, other: Backup) -> Bool { one.json == other.json }
}

/// The link to the document that was the head before: what makes a domain's documents one hash chain. Where the store
/// had lost them all, to the last one that the machine knew of.
public struct Previous: Sendable {
    public let generation: Int64
    /// The SHA-512 of that document's bytes without the final newline.
    public let metadataSHA512: String
    let others: [JSON.Member]

    init(of document: Document) {
        generation = document.metadata.backup.generation
        metadataSHA512 = document.sha512
        others = []
    }

    /// Whether this is the link to that document.
    func names(_ document: Document) -> Bool {
        generation == document.metadata.backup.generation && metadataSHA512 == document.sha512
    }

    init(_ members: Members) throws {
        generation = try members.generation("generation")
        metadataSHA512 = try members.digest("metadataSha512", bytes: 64)
        others = members.others(than: ["generation", "metadataSha512"])
    }

    var json: JSON {
        let known: [JSON.Member] = [
            .init("generation", .integer(generation)), .init("metadataSha512", .string(metadataSHA512)),
        ]
        return .object(known + others)
    }
}

/// What a document says: the backup, the document before it, and the backups that it builds on.
public struct Metadata: Sendable {
    public let backup: Backup
    /// nil for generation 1 alone.
    public let previous: Previous?
    /// Any earlier one of its chain; nil for a full backup.
    public let parent: Backup?
    /// nil where the parent is the full one, or there is none.
    public let ancestry: Ancestry?
    /// Of a machine's own backup, those of its members that belong to it; nil for any other.
    public let members: [NamedBackup]?

    init(
        backup: Backup, previous: Previous?, parent: Backup?, ancestry: Ancestry?,
        members: [NamedBackup]? = nil
    ) {
        self.backup = backup
        self.previous = previous
        self.parent = parent
        self.ancestry = ancestry
        self.members = members
    }

    init(_ members: Members) throws {
        backup = try Backup(members)
        if backup.generation > 1 {
            let link = try members.object("previous")
            let previous = try Previous(link)
            guard previous.generation < backup.generation else {
                throw link.failure("generation", "is not less than \(backup.generation)")
            }
            self.previous = previous
        } else {
            guard !members.contains("previous") else {
                throw members.failure("previous", "is present, but generation 1 is the first")
            }
            previous = nil
        }
        if backup.type == .incremental {
            parent = try Metadata.parent(of: backup, behind: previous, members.object("parent"))
        } else {
            guard !members.contains("parent") else {
                throw members.failure("parent", "is present, but the backup is full")
            }
            parent = nil
        }
        if let parent, parent.type == .incremental {
            ancestry = try Ancestry(members.object("chain"), of: parent)
        } else {
            guard !members.contains("chain") else {
                throw members.failure("chain", "is present, but the parent is not incremental")
            }
            ancestry = nil
        }
        self.members = members.contains("members") ? try NamedBackup.all(of: members, in: backup) : nil
    }

    private static func parent(
        of backup: Backup, behind previous: Previous?, _ members: Members
    ) throws -> Backup {
        for link in Backup.links where members.contains(link) {
            throw members.failure(link, "is present, but a parent has no links of its own")
        }
        let parent = try Backup(members)
        guard parent.domain == backup.domain else {
            throw members.failure("domain", "is \(parent.domain), not \(backup.domain)")
        }
        guard let previous, parent.generation <= previous.generation else {
            throw members.failure("generation", "is not one before \(backup.generation)")
        }
        guard parent.uuid != backup.uuid else {
            throw members.failure("uuid", "is the backup's own")
        }
        return parent
    }

    /// The members in the order of `escapepod-metadata(5)`, unknown ones behind them.
    public var json: JSON {
        var links: [JSON.Member] = []
        if let previous { links.append(.init("previous", previous.json)) }
        if let parent { links.append(.init("parent", parent.json)) }
        if let ancestry { links.append(.init("chain", ancestry.json)) }
        if let members { links.append(.init("members", .array(members.map(\.json)))) }
        return backup.json(with: links)
    }
}

/// A metadata document: what it says, and the digest of the bytes that said it.
public struct Document: Sendable {
    /// The most bytes of a document, its final newline not counted.
    public static let maximumLength = Envelope.maximumDocumentLength

    public let metadata: Metadata
    /// Of the bytes without the final newline, in lower-case hex: what the next document's `previous` holds.
    public let sha512: String

    /// Reads one document: a line of JSON, with or without its newline.
    ///
    /// - Throws: `badData`, naming the member, or the byte where it is no JSON.
    public init(parsing bytes: [UInt8], at place: String) throws {
        let newline = UInt8(ascii: "\n")
        let line = bytes.last == newline ? bytes.dropLast() : bytes[...]
        guard !line.isEmpty else {
            throw Failure(.badData, "empty instead of a metadata document", at: place)
        }
        guard line.count <= Document.maximumLength else {
            throw Failure(.badData, "a metadata document longer than 1 MiB", at: place)
        }
        guard !line.contains(newline) else {
            throw Failure(.badData, "a metadata document with more than one line", at: place)
        }
        metadata = try Metadata(Members(of: JSON(parsing: Array(line), at: place), at: place))
        sha512 = try Digest.hex(.sha512, of: Array(line))
    }
}
