public import JSON
import Plumbing

/// A machine that is to come back, as its capsule describes it: escapepod-capsule(5).
///
/// Read from a capsule it is foreign: every text in it has been checked for its form, and none may become more than one
/// argument of a command.
public struct Machine: Equatable, Sendable {
    public let host: String
    public let architecture: String
    public let kernel: String
    /// When it was looked at, RFC 3339, UTC, whole seconds.
    public let date: String
    /// How its disk can be booted.
    public let firmware: [Firmware]
    public let disk: Disk
    public let subvolumes: [Place]
    /// Subvolumes that those lie in, and that come back empty.
    public let containers: [Container]
    /// What it swaps to in files, which are made anew.
    public let swapFiles: [SwapFile]
    /// What of it does not come back, each with the reason, for people.
    public let leftOut: [String]
    /// What its firmware calls the boot loader; nil where that was not known.
    public let bootEntry: BootEntry?

    static let version: Int64 = 1
}

extension Machine {
    public init(parsing bytes: [UInt8], at place: String) throws {
        let members = try Members(of: JSON(parsing: bytes, at: place), at: place)
        let version = try members.integer("version")
        guard version == Machine.version else {
            throw Failure(
                .badData, "the capsule has version \(version), not \(Machine.version)", at: place,
                hint: "rebuild with the escapepod that wrote it, or a newer one")
        }
        host = try members.string("host")
        architecture = try members.string("architecture")
        kernel = try members.string("kernel")
        date = try members.string("date")
        firmware = try members.strings("firmware").map { name in
            guard let kind = Firmware(rawValue: name) else {
                throw members.failure("firmware", "has an unknown kind")
            }
            return kind
        }
        disk = try Disk(members.object("disk"))
        subvolumes = try members.objects("subvolumes").map(Place.init)
        containers = try members.objects("containers").map(Container.init)
        swapFiles = try members.objects("swapfiles").map(SwapFile.init)
        leftOut = try members.strings("left-out")
        bootEntry = try members.objectOrNull("boot-entry").map(BootEntry.init)
        try check(members)
    }

    /// What each part cannot see alone.
    private func check(_ members: Members) throws {
        let filesystems = disk.partitions.compactMap { $0.content?.kind == .btrfs ? $0.content?.uuid : nil }
        guard Set(filesystems).count == filesystems.count else {
            throw members.failure("disk", "has two file systems with one UUID")
        }
        let locks = disk.partitions.compactMap { $0.encryption?.uuid }
        guard Set(locks).count == locks.count else {
            throw members.failure("disk", "has two encrypted partitions with one UUID")
        }
        guard subvolumes.allSatisfy({ filesystems.contains($0.filesystem) }),
            containers.allSatisfy({ filesystems.contains($0.filesystem) }),
            swapFiles.allSatisfy({ filesystems.contains($0.filesystem) })
        else {
            throw members.failure("subvolumes", "names a file system that is not on the disk")
        }
        guard Set(subvolumes.map(\.label)).count == subvolumes.count,
            Set(subvolumes.map { $0.filesystem + "/" + $0.path }).count == subvolumes.count
        else { throw members.failure("subvolumes", "has one twice") }
        guard subvolumes.contains(where: { $0.mount == "/" }) else {
            throw members.failure("subvolumes", "has no root")
        }
    }

    public var json: JSON {
        [
            "version": .integer(Machine.version), "host": .string(host),
            "architecture": .string(architecture),
            "kernel": .string(kernel), "date": .string(date),
            "firmware": .array(firmware.map { .string($0.rawValue) }), "disk": disk.json,
            "subvolumes": .array(subvolumes.map(\.json)),
            "containers": .array(containers.map(\.json)), "swapfiles": .array(swapFiles.map(\.json)),
            "left-out": .array(leftOut.map { .string($0) }),
            "boot-entry": bootEntry?.json ?? .null,
        ]
    }

    /// The subvolume that is the root of the machine.
    public var root: Place {
        guard let root = subvolumes.first(where: { $0.mount == "/" }) else { preconditionFailure("checked") }
        return root
    }
}

/// What reads a disk first.
public enum Firmware: String, CaseIterable, Sendable {
    case uefi
    case bios
}

/// An entry of a UEFI firmware's boot menu.
public struct BootEntry: Equatable, Sendable {
    public let label: String
    /// The file on the EFI system partition, with backslashes, as the firmware writes it.
    public let loader: String
}

extension BootEntry {
    init(_ members: Members) throws {
        label = try members.plain("label")
        loader = try members.plain("loader")
    }

    var json: JSON { ["label": .string(label), "loader": .string(loader)] }
}

/// A subvolume that belongs to the machine.
public struct Place: Equatable, Sendable {
    /// Names it below the machine's domain.
    public let label: String
    /// The UUID of its btrfs.
    public let filesystem: String
    /// Its path from the top level of that, without a slash at either end.
    public let path: String
    /// Where the machine has it mounted; nil for one that is seen below another.
    public let mount: String?
    /// Its id there, which will be another one where it comes back.
    public let id: Int64
    public let isDefault: Bool
    /// When the folder that it lies in was changed, in nanoseconds since 1970: it is changed again when this comes back into it.
    public let folderTime: Int64
}

extension Place {
    init(_ members: Members) throws {
        label = try members.string("label")
        guard label.isDomain, !label.contains(".") else { throw members.failure("label", "is not a label") }
        filesystem = try members.uuid("filesystem")
        path = try members.plain("path")
        guard path.isPlainPath else { throw members.failure("path", "is not a path of names") }
        mount = try members.stringOrNull("mount")
        guard mount.map({ $0 == "/" || $0.first == "/" && String($0.dropFirst()).isPlainPath }) ?? true else {
            throw members.failure("mount", "is not an absolute path")
        }
        id = try members.integer("id")
        isDefault = try members.bool("default")
        folderTime = try members.integer("folder-time")
    }

    var json: JSON {
        [
            "label": .string(label), "filesystem": .string(filesystem), "path": .string(path),
            "mount": mount.map { .string($0) } ?? .null, "id": .integer(id), "default": .bool(isDefault),
            "folder-time": .integer(folderTime),
        ]
    }
}

/// A subvolume that only holds others.
public struct Container: Equatable, Sendable {
    let filesystem: String
    let path: String
}

extension Container {
    init(_ members: Members) throws {
        filesystem = try members.uuid("filesystem")
        path = try members.plain("path")
        guard path.isPlainPath else { throw members.failure("path", "is not a path of names") }
    }

    var json: JSON { ["filesystem": .string(filesystem), "path": .string(path)] }
}

/// A swapfile, in a subvolume that has nothing else and so does not come back with one.
public struct SwapFile: Equatable, Sendable {
    let filesystem: String
    /// The path of the subvolume, and of the file in it.
    let subvolume: String
    let name: String
    let size: Int64
    let uuid: String
}

extension SwapFile {
    init(_ members: Members) throws {
        filesystem = try members.uuid("filesystem")
        subvolume = try members.plain("subvolume")
        name = try members.plain("name")
        guard subvolume.isPlainPath, name.isPlainPath, !name.contains("/") else {
            throw members.failure("subvolume", "is not a path of names")
        }
        size = try members.integer("size")
        guard (1 << 16...1 << 50).contains(size), size % 4096 == 0 else {
            throw members.failure("size", "is not that of a swapfile")
        }
        uuid = try members.uuid("uuid")
    }

    var json: JSON {
        [
            "filesystem": .string(filesystem), "subvolume": .string(subvolume), "name": .string(name),
            "size": .integer(size), "uuid": .string(uuid),
        ]
    }
}

extension String {
    /// Whether this is a path of one name or more, none of them empty or dots, and so leads nowhere but down.
    var isPlainPath: Bool {
        !isEmpty
            && split(separator: "/", omittingEmptySubsequences: false).allSatisfy {
                !["", ".", ".."].contains($0) && $0.utf8.count <= 255
            } && !utf8.contains(0)
    }
}

extension String {
    /// Of a plain path: what the last name lies in, empty for the top, and that name.
    var lastName: (parent: String, name: String) {
        let names = split(separator: "/")
        return (names.dropLast().joined(separator: "/"), String(names.last ?? ""))
    }
}

extension Members {
    /// Text without a control character, at most 4,096 bytes of it.
    func plain(_ name: String) throws -> String {
        let text = try string(name)
        guard text.utf8.count <= 4096, text.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7f }) else {
            throw failure(name, "has a control character, or is too long")
        }
        return text
    }

    func uuid(_ name: String) throws -> String {
        let text = try string(name)
        guard text.isUUID else { throw failure(name, "is not a UUID") }
        return text
    }

    func strings(_ name: String) throws -> [String] {
        try array(name).map {
            guard case .string(let text) = $0 else { throw failure(name, "is not a list of strings") }
            return text
        }
    }

    func objects(_ name: String) throws -> [Members] {
        try array(name).map { try Members(of: $0, at: "member \(name)") }
    }
}

extension String {
    /// Whether this is a UUID of 32 hexadecimal digits in five groups.
    var isUUID: Bool {
        let groups = split(separator: "-", omittingEmptySubsequences: false)
        return groups.map(\.utf8.count) == [8, 4, 4, 4, 12]
            && utf8.allSatisfy { $0 == UInt8(ascii: "-") || Character(Unicode.Scalar($0)).isHexDigit }
    }
}
