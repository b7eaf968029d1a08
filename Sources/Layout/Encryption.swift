import JSON
import Plumbing

/// How a partition is encrypted with LUKS, and what it takes to encrypt another one in the same way.
///
/// Never the header itself: whoever has that has the key slots, and can try passphrases.
public struct Encryption: Equatable, Sendable {
    public enum Kind: String, Sendable {
        case luks1
        case luks2
    }

    public let kind: Kind
    public let uuid: String
    /// Empty where it has none, as in LUKS1.
    public let label: String
    /// As dm-crypt names it, such as `aes-xts-plain64`.
    public let cipher: String
    /// Of the volume key, in bits.
    public let keySize: Int64
    /// How many bytes are encrypted at a time.
    public let sector: Int64
    /// Where what is encrypted starts, in bytes.
    public let offset: Int64
    /// What makes a key from a passphrase, `pbkdf2` wherever a key slot has that: a boot loader may know nothing else.
    public let derivation: String
    public let hash: String
    /// What the header says of how it is to be opened, such as `allow-discards`.
    public let flags: [String]
    /// What opens it besides one passphrase, for people: it does not come back.
    public let lost: [String]

    /// The flags, each with the option of `cryptsetup open` that sets it.
    static let options = [
        "allow-discards": "--allow-discards", "no-read-workqueue": "--perf-no_read_workqueue",
        "no-write-workqueue": "--perf-no_write_workqueue", "same-cpu-crypt": "--perf-same_cpu_crypt",
        "submit-from-crypt-cpus": "--perf-submit_from_crypt_cpus",
    ]
}

// MARK: - As a machine has it

extension Encryption {
    /// Reads the facts of an encrypted partition.
    ///
    /// - Parameters:
    ///   - path: of its device.
    ///   - tags: what libblkid finds on it.
    /// - Throws: `badData` where it is encrypted in a way that could not be had again, with the reason.
    init(of path: String, _ tags: [String: String]) throws {
        let (uuid, label) = (tags["UUID"] ?? "", tags["LABEL"] ?? "")
        let command = ["env", "LC_ALL=C", "cryptsetup", "luksDump"]
        if tags["VERSION"] == "1" {
            let text = try Program.output(of: command + [path])
            try self.init(luks1: String(decoding: text, as: UTF8.self), uuid: uuid, at: path)
        } else {
            let text = try Program.output(of: command + ["--dump-json-metadata", path])
            try self.init(
                luks2: JSON(parsing: text, at: path), uuid: uuid, label: label, at: path)
        }
    }

    /// - Parameter text: as `cryptsetup luksDump` prints it of LUKS1.
    init(luks1 text: String, uuid: String, at place: String) throws {
        var fields: [Substring: String] = [:]
        var slots = 0
        for line in text.split(separator: "\n") {
            let parts = line.split(separator: ":", maxSplits: 1)
            guard parts.count == 2 else { continue }
            let value = String(parts[1].filter { $0 != "\t" }).trimmed
            fields[parts[0]] = value
            if parts[0].hasPrefix("Key Slot "), value == "ENABLED" { slots += 1 }
        }
        guard let name = fields["Cipher name"], let mode = fields["Cipher mode"],
            let hash = fields["Hash spec"],
            let bits = fields["MK bits"].flatMap({ Int64($0) }),
            let sectors = fields["Payload offset"].flatMap({ Int64($0) }), (0...1 << 31).contains(sectors)
        else { throw Encryption.unknown("cryptsetup luksDump does not tell how", place) }
        kind = .luks1
        self.uuid = uuid
        label = ""
        cipher = "\(name)-\(mode)"
        keySize = bits
        sector = 512
        offset = sectors * 512
        derivation = "pbkdf2"
        self.hash = hash
        flags = []
        lost = Encryption.lost(slots: slots, tokens: [])
    }

    /// - Parameter metadata: of LUKS2, "LUKS2 On-Disk Format Specification", version 1.1.1, section 3.
    init(luks2 metadata: JSON, uuid: String, label: String, at place: String) throws {
        let all = try Members(of: metadata, at: place)
        func each(_ name: String) throws -> [Members] {
            try all.object(name).others(than: []).map { try Members(of: $0.value, at: place) }
        }
        let segments = try each("segments")
        let slots = try each("keyslots")
        guard segments.count == 1, let segment = segments.first, try segment.string("type") == "crypt",
            !segment.contains("integrity"), try segment.string("iv_tweak") == "0",
            let offset = Int64(try segment.string("offset")), try segment.string("size") == "dynamic",
            try slots.allSatisfy({ try $0.string("type") == "luks2" })
        else {
            throw Encryption.unknown(
                "with integrity, in several segments, or just being encrypted anew", place)
        }
        let config = try all.object("config")
        let kinds = try slots.map { try $0.object("kdf").string("type") }
        kind = .luks2
        self.uuid = uuid
        self.label = label
        cipher = try segment.string("encryption")
        keySize = try slots.map { try $0.integer("key_size") * 8 }.max() ?? 512
        sector = try segment.integer("sector_size")
        self.offset = offset
        derivation = kinds.contains("pbkdf2") ? "pbkdf2" : kinds.first ?? "argon2id"
        hash = try slots.first?.object("af").string("hash") ?? "sha256"
        flags =
            try config.contains("flags")
            ? config.strings("flags").filter { Encryption.options[$0] != nil }.sorted() : []
        lost = Encryption.lost(slots: slots.count, tokens: try each("tokens").map { try $0.string("type") })
    }

    private static func unknown(_ what: String, _ place: String) -> Failure {
        Failure(.badData, "cannot come back: encrypted with LUKS, \(what)", at: place)
    }

    private static func lost(slots: Int, tokens: [String]) -> [String] {
        // Each token stands for a slot of its own.
        let others = slots - 1 - tokens.count
        return tokens.map { printable(String($0.prefix(64))) }
            + (others > 0 ? ["\(others) more \(others == 1 ? "key slot" : "key slots")"] : [])
    }
}

// MARK: - In a capsule

extension Encryption {
    init(_ members: Members) throws {
        guard let kind = Kind(rawValue: try members.string("kind")) else {
            throw members.failure("kind", "is unknown")
        }
        self.kind = kind
        uuid = try members.uuid("uuid")
        label = try members.plain("label")
        guard label.utf8.count < 48, kind == .luks2 || label.isEmpty else {
            throw members.failure("label", "is not one of LUKS")
        }
        func name(_ member: String) throws -> String {
            let text = try members.string(member)
            let isPlain = text.utf8.allSatisfy {
                switch Unicode.Scalar($0) {
                case "a"..."z", "0"..."9", "-", "_", ":", "(", ")": true
                default: false
                }
            }
            guard isPlain, (1...64).contains(text.utf8.count), text.first != "-" else {
                throw members.failure(member, "is not the name of an algorithm")
            }
            return text
        }
        cipher = try name("cipher")
        guard !cipher.hasPrefix("cipher_null") else { throw members.failure("cipher", "encrypts nothing") }
        hash = try name("hash")
        derivation = try name("derivation")
        keySize = try members.integer("key-size")
        sector = try members.integer("sector")
        offset = try members.integer("offset")
        guard (64...4096).contains(keySize), keySize % 8 == 0, [512, 1024, 2048, 4096].contains(sector),
            (1 << 18...1 << 40).contains(offset), offset % 4096 == 0
        else { throw members.failure("offset", "or a size is not one of LUKS") }
        flags = try members.strings("flags")
        guard flags.allSatisfy({ Encryption.options[$0] != nil }), Set(flags).count == flags.count else {
            throw members.failure("flags", "has an unknown one, or one twice")
        }
        lost = try members.strings("lost")
    }

    var json: JSON {
        [
            "kind": .string(kind.rawValue), "uuid": .string(uuid), "label": .string(label),
            "cipher": .string(cipher), "key-size": .integer(keySize), "sector": .integer(sector),
            "offset": .integer(offset), "derivation": .string(derivation), "hash": .string(hash),
            "flags": .array(flags.map { .string($0) }), "lost": .array(lost.map { .string($0) }),
        ]
    }
}

// MARK: - On another disk

extension Encryption {
    /// What the open device is called: also a later run of the same rebuild knows it by that.
    var opened: String { "escapepod-\(uuid)" }

    /// Encrypts a partition anew. The passphrase is the standard input.
    ///
    /// - Parameters:
    ///   - least: the bytes of a sector of the disk.
    ///   - isQuick: a passphrase that nobody could guess need not be slow to try.
    func formatting(_ device: String, sector least: Int64, isQuick: Bool) -> [String] {
        var command = ["cryptsetup", "luksFormat", "--batch-mode", "--key-file=-", "--type", kind.rawValue]
        command += [
            "--cipher", cipher, "--key-size", "\(keySize)", "--hash", hash, "--offset", "\(offset / 512)",
        ]
        if isQuick {
            let isSimple = derivation == "pbkdf2"
            command +=
                ["--pbkdf-force-iterations", isSimple ? "1000" : "4"]
                + (isSimple ? [] : ["--pbkdf-memory", "32"])
        }
        if kind == .luks2 {
            command += ["--pbkdf", derivation, "--sector-size", "\(max(sector, least))"]
            if !label.isEmpty { command.append("--label=\(label)") }
        }
        return command + [device]
    }

    /// Gives it its old UUID. Before that, it is not known whether any passphrase opens it.
    func identifying(_ device: String) -> [String] {
        ["cryptsetup", "luksUUID", "--batch-mode", "--uuid", uuid, device]
    }

    /// Opens it. The passphrase is the standard input.
    func opening(_ device: String) -> [String] {
        let flags = flags.compactMap { Encryption.options[$0] }
        return ["cryptsetup", "open", "--type", "luks", "--key-file=-"] + flags
            + (flags.isEmpty ? [] : ["--persistent"]) + [device, opened]
    }
}
