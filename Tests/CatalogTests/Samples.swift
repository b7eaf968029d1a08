import Glibc
import JSON
import OpenSSL
import Plumbing

@testable import Catalog

func uuid(_ digit: Int) -> String {
    [8, 4, 4, 4, 12].map { String(repeating: String(digit), count: $0) }.joined(separator: "-")
}

func record(_ text: String) throws -> JSON { try JSON(parsing: Array(text.utf8), at: "test") }

/// What is said of the bytes as a document; nil where they are one.
func refusal(_ json: JSON) -> String? { refusal(json.line) }

func refusal(_ bytes: [UInt8]) -> String? { failure { _ = try Document(parsing: bytes, at: "test") }?.what }

func failure(_ body: () throws -> Void) -> Failure? {
    do {
        try body()
        return nil
    } catch {
        return error as? Failure ?? Failure(.bug, "no Failure: \(error)")
    }
}

/// The documents of three backups, one on the other: full, incremental, full again.
enum Sample {
    static let domain = "pod.example.org"

    static func backup(_ generation: Int64, _ type: String, others: [JSON.Member] = []) throws -> [JSON
        .Member]
    {
        let seed = Array("\(generation)".utf8)
        return [
            .init("version", 1), .init("domain", .string(domain)), .init("generation", .integer(generation)),
            .init("type", .string(type)), .init("uuid", .string(uuid(Int(generation)))),
            .init("date", .string("2026-11-2\(generation)T06:10:00Z")),
            .init("size", .integer(1_234_567 + generation)),
            .init("sha512", .string(try Digest.hex(.sha512, of: seed))),
            .init("sha256", .string(try Digest.hex(.sha256, of: seed))),
            .init("producer", ["escapepod": "0.1.0", "kernel": "6.1.0-28-amd64", "btrfs-progs": "6.2"]),
        ] + others
    }

    static func previous(_ generation: Int64, of document: JSON) throws -> JSON.Member {
        let digest = try Digest.hex(.sha512, of: Array(document.description.utf8))
        return .init("previous", ["generation": .integer(generation), "metadataSha512": .string(digest)])
    }

    static func first() throws -> JSON { .object(try backup(1, "full")) }

    static func second() throws -> JSON {
        let first = try first()
        return .object(try backup(2, "incremental") + [previous(1, of: first), .init("parent", first)])
    }

    static func third() throws -> JSON {
        .object(try backup(3, "full") + [previous(2, of: second())])
    }

    /// A full backup made on that document; where the generation is not the one behind it, there is a gap.
    static func next(_ generation: Int64, on document: JSON) throws -> JSON {
        let before = try Sample.document(document).metadata.backup.generation
        return .object(try backup(generation, "full") + [previous(before, of: document)])
    }

    /// An incremental backup that builds on that one, and comes behind `document`: the same one, if it is not given.
    static func incremental(
        _ generation: Int64, upon parent: JSON, on document: JSON? = nil, size: Int64? = nil
    ) throws -> JSON {
        let base = try Sample.document(parent).metadata
        let before = document ?? parent
        let chain = Ancestry(upon: base).map { [JSON.Member("chain", $0.json)] } ?? []
        let json = JSON.object(
            try backup(generation, "incremental")
                + [
                    previous(Sample.document(before).metadata.backup.generation, of: before),
                    .init("parent", base.backup.json),
                ] + chain)
        return size.map { json.with(["size"], .integer($0)) } ?? json
    }

    /// No chain is cut short by its age.
    static let never = Policy(fullEvery: nil, differentialEvery: nil)

    /// The plan for a store that gave these documents.
    static func plan(
        _ documents: [JSON], _ snapshots: [Snapshot] = [], stubs: [Stub] = [], witness: JSON? = nil,
        policy: Policy = never, at now: Time = Time(seconds: 0)
    ) throws -> Plan {
        var lineage = try Lineage(of: domain, witness: witness.map(document))
        for json in documents { try lineage.append(document(json), at: "test") }
        return try Plan(on: lineage, snapshots: snapshots, stubs: stubs, policy: policy, at: now)
    }

    static func document(_ json: JSON) throws -> Document { try Document(parsing: json.line, at: "test") }

    static func snapshot(
        _ slot: String, _ uuid: String, received: String? = nil, readOnly: Bool = true, changed: Bool = false
    ) throws -> Snapshot {
        try Snapshot(
            [
                "slot": .string(slot), "path": .string("/v/.escapepod/usb/\(slot)"), "uuid": .string(uuid),
                "receivedUuid": received.map { .string($0) } ?? .null, "generation": 12,
                "created": "2026-11-23T06:10:00Z", "readOnly": .bool(readOnly), "changed": .bool(changed),
            ], at: "test")
    }
}

extension Descriptor {
    /// A file with that text, which goes with it.
    static func containing(_ text: String) throws -> Descriptor {
        var name = Array("/tmp/escapepod-history-XXXXXX".utf8CString)
        let number = mkstemp(&name)
        guard number >= 0 else { throw Failure.system("mkstemp", at: nil) }
        unlink(name)
        let file = Descriptor(owning: number, name: "history")
        try file.write(Array(text.utf8))
        lseek(file.number, 0, SEEK_SET)
        return file
    }
}

extension JSON {
    /// This object with the member at the path replaced, or removed where the value is nil.
    func with(_ path: [String], _ value: JSON?) -> JSON {
        guard case .object(let members) = self, let name = path.first else { return self }
        let changed = members.compactMap { member -> JSON.Member? in
            guard member.name == name else { return member }
            guard path.count == 1 else {
                return .init(name, member.value.with(Array(path.dropFirst()), value))
            }
            return value.map { .init(name, $0) }
        }
        let isNew = path.count == 1 && self[name] == nil
        return .object(changed + (isNew ? value.map { [.init(name, $0)] } ?? [] : []))
    }
}
