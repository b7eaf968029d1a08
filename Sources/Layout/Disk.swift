import JSON
import Plumbing

/// The disk of a machine, all lengths in bytes.
public struct Disk: Equatable, Sendable {
    public enum Table: String, Sendable {
        case gpt
        case dos
    }

    /// What the kernel called it.
    public let name: String
    public let size: Int64
    /// Of a logical sector.
    public let sector: Int64
    public let table: Table
    /// The table's own: a UUID, or `0x` and eight digits.
    public let id: String
    /// In the order of their numbers.
    public let partitions: [Partition]
    /// What drives it: the name of a kernel module, as far as the kernel tells.
    public let driver: String
}

extension Disk {
    init(_ members: Members) throws {
        name = try members.plain("name")
        size = try members.integer("size")
        sector = try members.integer("sector")
        guard [512, 4096].contains(sector) else { throw members.failure("sector", "is neither 512 nor 4096") }
        guard (1 << 20...1 << 60).contains(size), size % sector == 0 else {
            throw members.failure("size", "is not that of a disk")
        }
        guard let table = Table(rawValue: try members.string("table")) else {
            throw members.failure("table", "is neither gpt nor dos")
        }
        self.table = table
        id = try members.string("id")
        guard table == .gpt ? id.isUUID : id.hasPrefix("0x") && String(id.dropFirst(2)).isHex(bytes: 4) else {
            throw members.failure("id", "is not that of a \(table.rawValue) table")
        }
        driver = try members.plain("driver")
        partitions = try members.objects("partitions").map(Partition.init)
        guard (1...128).contains(partitions.count),
            zip(partitions, partitions.dropFirst()).allSatisfy({ $0.number < $1.number })
        else { throw members.failure("partitions", "are too many, or in no order") }
        guard partitions.allSatisfy({ $0.start % sector == 0 && $0.size % sector == 0 && $0.end <= size })
        else { throw members.failure("partitions", "are not on the disk, or between sectors") }
        let real = partitions.filter { !$0.isContainer }.sorted { $0.start < $1.start }
        guard zip(real, real.dropFirst()).allSatisfy({ $0.end <= $1.start }) else {
            throw members.failure("partitions", "overlap")
        }
    }

    var json: JSON {
        [
            "name": .string(name), "size": .integer(size), "sector": .integer(sector),
            "table": .string(table.rawValue), "id": .string(id), "driver": .string(driver),
            "partitions": .array(partitions.map(\.json)),
        ]
    }
}

/// A partition, and what is on it.
public struct Partition: Equatable, Sendable {
    public let number: Int64
    /// In bytes from the start of the disk, as its size.
    public let start: Int64
    public let size: Int64
    /// A GPT type's UUID, or two hexadecimal digits.
    public let type: String
    /// These three only in a GPT; the attributes as sfdisk writes them.
    public let uuid: String?
    public let name: String?
    public let attributes: String?
    public let isBootable: Bool
    /// Nil where it is not encrypted.
    public let encryption: Encryption?
    /// Nil where nothing is known on it; of an encrypted one, what is inside.
    public let content: Content?
    /// Where the machine has it mounted, if it is no btrfs.
    public let mount: String?

    var end: Int64 { start + size }
    var isContainer: Bool { Layout.isContainer(type) }
}

extension Partition {
    /// What it is, for people.
    ///
    /// - Parameter places: of the subvolumes on it.
    func line(_ device: String, _ places: [String]) -> String {
        let kind =
            content?.kind.rawValue ?? (isBIOSBoot(type) ? "boot loader" : isContainer ? "extended" : "empty")
        let what = [
            encryption?.kind.rawValue.uppercased(), kind,
            content?.label.isEmpty == false ? "'\(content?.label ?? "")'" : nil,
            isEFISystem(type) ? "EFI system partition" : nil,
            mount ?? (places.isEmpty ? nil : places.joined(separator: ", ")),
        ].compactMap { $0 }
        return "\(device)  \(readable(bytes: UInt64(size)))  \(what.joined(separator: "  "))"
    }

    init(_ members: Members) throws {
        number = try members.integer("number")
        start = try members.integer("start")
        size = try members.integer("size")
        guard (1...128).contains(number), start > 0, size > 0, start < 1 << 60, size < 1 << 60 else {
            throw members.failure("number", "has a place that no partition has")
        }
        type = try members.string("type")
        guard type.isUUID || (1...2).contains(type.utf8.count) && type.allSatisfy(\.isHexDigit) else {
            throw members.failure("type", "is not that of a partition")
        }
        uuid = try members.contains("uuid") ? members.uuid("uuid") : nil
        name = try members.contains("name") ? members.plain("name") : nil
        attributes = try members.contains("attributes") ? members.plain("attributes") : nil
        guard name.map({ $0.utf16.count <= 36 && !$0.contains("\"") && !$0.contains("\\") }) ?? true,
            attributes.map({ $0.utf8.allSatisfy { $0 != UInt8(ascii: "\"") } }) ?? true
        else { throw members.failure("name", "cannot be a partition's") }
        isBootable = try members.bool("bootable")
        encryption = try members.contains("encryption") ? Encryption(members.object("encryption")) : nil
        if let encryption, encryption.offset >= size {
            throw members.failure("encryption", "has no room in its partition")
        }
        content = try members.objectOrNull("content").map(Content.init)
        mount = try members.stringOrNull("mount")
        guard mount.map({ $0.first == "/" && String($0.dropFirst()).isPlainPath }) ?? true else {
            throw members.failure("mount", "is not an absolute path")
        }
    }

    var json: JSON {
        var members: [JSON.Member] = [
            .init("number", .integer(number)), .init("start", .integer(start)), .init("size", .integer(size)),
            .init("type", .string(type)),
        ]
        for (key, value) in [("uuid", uuid), ("name", name), ("attributes", attributes)] {
            if let value { members.append(.init(key, .string(value))) }
        }
        members.append(.init("bootable", .bool(isBootable)))
        if let encryption { members.append(.init("encryption", encryption.json)) }
        members += [
            .init("content", content?.json ?? .null),
            .init("mount", mount.map { .string($0) } ?? .null),
        ]
        return .object(members)
    }
}

/// A file system or a swap area, with what it takes to make one like it.
public struct Content: Equatable, Sendable {
    public enum Kind: String, Sendable {
        case btrfs
        case vfat
        case ext4
        case swap
    }

    public let kind: Kind
    /// As libblkid writes it: of a FAT `1234-ABCD`.
    public let uuid: String
    public let label: String
    /// Bytes in use, which have to fit; 0 for a swap area.
    public let used: Int64
    /// The name of the checksum of a btrfs, the width of a FAT (`12`, `16`, `32`), the features of an ext4; else empty.
    public let form: String
    /// The file in the capsule with what is on it, a tar archive; nil for a btrfs and a swap area, and where it is left out.
    public let archive: String?
}

extension Content {
    init(_ members: Members) throws {
        guard let kind = Kind(rawValue: try members.string("kind")) else {
            throw members.failure("kind", "is unknown")
        }
        self.kind = kind
        uuid = try members.string("uuid")
        let isVolumeID =
            uuid.utf8.count == 9 && uuid.filter { $0 != "-" }.count == 8
            && uuid.allSatisfy { $0 == "-" || $0.isHexDigit }
        guard kind == .vfat ? isVolumeID : uuid.isUUID else { throw members.failure("uuid", "is not a UUID") }
        label = try members.plain("label")
        guard label.first != "-" else { throw members.failure("label", "starts with a dash") }
        used = try members.integer("used")
        guard (0...1 << 60).contains(used) else { throw members.failure("used", "is not a count of bytes") }
        form = try members.plain("form")
        guard
            form.utf8.allSatisfy({
                $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: ",") || (0x61...0x7a).contains($0)
                    || (0x30...0x39).contains($0)
            })
        else { throw members.failure("form", "is not a list of names") }
        archive = try members.stringOrNull("archive")
        guard archive.map({ $0.isPlainPath && !$0.contains("/") }) ?? true else {
            throw members.failure("archive", "is not a name")
        }
    }

    var json: JSON {
        [
            "kind": .string(kind.rawValue), "uuid": .string(uuid), "label": .string(label),
            "used": .integer(used), "form": .string(form), "archive": archive.map { .string($0) } ?? .null,
        ]
    }
}

// MARK: - Types of partitions

/// An extended partition, which holds others.
func isContainer(_ type: String) -> Bool { ["5", "f", "85"].contains(type) }

func isBIOSBoot(_ type: String) -> Bool { type.lowercased() == "21686148-6449-6e6f-744e-656564454649" }

func isEFISystem(_ type: String) -> Bool {
    ["c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "ef"].contains(type.lowercased())
}
