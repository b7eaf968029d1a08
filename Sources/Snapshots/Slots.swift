import CBtrfsUtil
import Glibc
public import JSON
import Plumbing

/// The four places for one store's snapshots in a volume. A place is no identity: that is the UUID.
public enum Slot: String, CaseIterable, Sendable {
    /// The newest full backup.
    case root
    /// The incremental one before the newest.
    case lastParent = "last-parent"
    /// The newest incremental one.
    case currentParent = "current-parent"
    /// What is being backed up.
    case currentState = "current-state"
}

/// What kind of backup the slots are rotated after.
public enum BackupType: String, CaseIterable, Sendable {
    case full
    case incremental
}

/// What stands in a slot where the volume was replaced by a snapshot of itself: an empty folder that the kernel puts in
/// place of the subvolume, which stayed in the volume that it was.
public struct Stub: Sendable {
    public let slot: Slot
    let path: String
    /// Snapshots in a slot of that name, in a folder of that name, elsewhere on the file system.
    let elsewhere: [(path: [UInt8], uuid: String, receivedUUID: String?)]

    public var record: JSON {
        [
            "slot": .string(slot.rawValue), "path": .string(path), "stub": true,
            "elsewhere": .array(
                elsewhere.map {
                    [
                        "path": .string(printable($0.path)), "uuid": .string($0.uuid),
                        "receivedUuid": $0.receivedUUID.map { .string($0) } ?? .null,
                    ]
                }),
        ]
    }
}

/// What a slot holds.
public enum Holding: Sendable {
    case snapshot(Snapshot)
    case stub(Stub)

    public var record: JSON {
        switch self {
        case .snapshot(let snapshot): snapshot.record
        case .stub(let stub): stub.record
        }
    }
}

/// The slots of one store in one volume: `VOLUME/.escapepod/NAME/SLOT`.
///
/// The volume's root folder may be anybody's, but the two folders below it have to be root's, or ours, and closed; so what
/// is in them is what we put there, whatever happens to their names meanwhile. Nothing but the slots is ever touched, and
/// only snapshots are deleted.
///
/// No two processes may change them at once; the caller holds a lock. A process that dies in the middle leaves a
/// state from which the same call goes on: what a step needs moves away last.
public struct Slots: ~Copyable {
    static let home = ".escapepod"
    /// Where `importSnapshot` puts a snapshot until it is there.
    private static let staging = "importing"

    private let volume: Subvolume
    private let name: String

    /// - Parameter name: 1 to 64 characters of `A-Za-z0-9._-`, not starting with a dot.
    public init(in volume: consuming Subvolume, name: String) throws {
        try Slots.require(name: name)
        self.volume = volume
        self.name = name
    }

    private static func require(name: String) throws {
        let isName = name.utf8.allSatisfy {
            switch $0 {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "-"):
                true
            default: false
            }
        }
        guard isName, (1...64).contains(name.utf8.count), !name.hasPrefix(".") else {
            throw Failure(
                .usage, "no name for a folder of slots", at: name,
                hint: "1 to 64 letters, digits, dots, dashes and underscores, not starting with a dot")
        }
    }

    /// The slots that are taken, in the order of `Slot`.
    public func list() throws -> [Holding] {
        guard let directory = try directory() else { return [] }
        var stubs: [Slot] = []
        var holdings: [Holding] = []
        for slot in Slot.allCases {
            switch try entry(slot.rawValue, in: directory) {
            case nil: continue
            case .stub: stubs.append(slot)
            case .subvolume: holdings.append(.snapshot(try held(slot, in: directory)))
            }
        }
        guard !stubs.isEmpty else { return holdings }
        let remnants = remnants()
        return stubs.map { slot in
            .stub(
                Stub(
                    slot: slot, path: directory.path(of: slot.rawValue),
                    elsewhere: remnants.filter { $0.slot == slot }.map { ($0.path, $0.uuid, $0.receivedUUID) }
                ))
        } + holdings
    }

    /// Takes a read-only snapshot of the volume into `currentState`. It is on stable storage when this returns.
    ///
    /// - Throws: `busy` where that slot is taken.
    public func create() throws -> Snapshot {
        let directory = try made()
        let slot = Slot.currentState
        guard try snapshot(slot, in: directory) == nil else {
            throw Failure(
                .busy, "the slot is taken", at: directory.path(of: slot.rawValue),
                hint: "unless a backup is running: ep-snap rotate if it was committed, ep-snap discard if not"
            )
        }
        try take(volume, as: slot.rawValue, in: directory)
        return try held(slot, in: directory)
    }

    /// Rotates the slots after a committed backup of `currentState`; without one there is nothing to do.
    public func rotate(after type: BackupType) throws {
        guard let directory = try changeable(), try snapshot(.currentState, in: directory) != nil else {
            return
        }
        switch type {
        case .full:
            for slot in [Slot.currentParent, .lastParent, .root] { try delete(slot, in: directory) }
            try rename(Slot.currentState.rawValue, to: .root, in: directory)
        case .incremental:
            if try snapshot(.currentParent, in: directory) != nil {
                try delete(.lastParent, in: directory)
                try rename(Slot.currentParent.rawValue, to: .lastParent, in: directory)
            }
            try rename(Slot.currentState.rawValue, to: .currentParent, in: directory)
        }
    }

    /// Deletes `currentState` if it is there.
    public func discard() throws {
        guard let directory = try changeable() else { return }
        try delete(.currentState, in: directory)
    }

    /// Renames the folder of these slots to `name`; without a folder there is nothing to do.
    ///
    /// - Throws: `busy` where that name is taken.
    public func move(to name: String) throws {
        try Slots.require(name: name)
        guard try changeable() != nil, let home = try home() else { return }
        guard try !exists(name, in: home) else {
            throw Failure(
                .busy, "there are snapshots under the other name, too", at: home.path(of: name),
                hint: "remove those that no backup builds upon")
        }
        try home.rename(self.name, toNew: name)
    }

    /// Puts a snapshot of a received snapshot into a slot, in place of what is there. It is read-only and keeps the
    /// received UUID, so the next backup can be an incremental one.
    ///
    /// - Throws: `badData` where `source` is writable, was not received, or lies on another file system.
    public func importSnapshot(_ source: borrowing Subvolume, into slot: Slot) throws -> Snapshot {
        let received = try Snapshot(of: source)
        guard received.isReadOnly, received.receivedUUID != nil else {
            throw Failure(
                .badData, received.isReadOnly ? "the snapshot was not received" : "the snapshot is writable",
                at: source.path, hint: "name a snapshot that btrfs receive brought to its end")
        }
        let directory = try made()
        if let there = try snapshot(slot, in: directory), there.uuid == received.uuid { return there }
        try delete(Slots.staging, in: directory)
        try take(source, as: Slots.staging, in: directory)
        try delete(slot, in: directory)
        try rename(Slots.staging, to: slot, in: directory)
        return try held(slot, in: directory)
    }
}

// MARK: - Folders

extension Slots {
    /// The folder of all stores' slots; nil where it is not there.
    private func home() throws -> Descriptor? { try folder(Slots.home, in: volume.directory) }

    /// The folder of the slots; nil where it is not there.
    private func directory() throws -> Descriptor? {
        guard let home = try home() else { return nil }
        return try folder(name, in: home)
    }

    /// The same to change what is in it, without what a rollback left there.
    private func changeable() throws -> Descriptor? {
        guard let directory = try directory() else { return nil }
        try requireWritable()
        try clearStubs(in: directory)
        return directory
    }

    /// The folder of the slots, made where it is not there.
    private func made() throws -> Descriptor {
        try requireWritable()
        let home = try made(Slots.home, in: volume.directory)
        let directory = try made(name, in: home)
        try clearStubs(in: directory)
        return directory
    }

    private func made(_ name: String, in directory: borrowing Descriptor) throws -> Descriptor {
        guard mkdirat(directory.number, name, 0o700) == 0 || errno == EEXIST else {
            throw Failure.system("cannot make the directory", at: directory.path(of: name))
        }
        guard let made = try folder(name, in: directory) else {
            throw Failure(.busy, "somebody else takes it away", at: directory.path(of: name))
        }
        return made
    }

    /// A folder of ours; nil where it is not there.
    ///
    /// - Throws: `denied` where others have a hand in it.
    private func folder(_ name: String, in directory: borrowing Descriptor) throws -> Descriptor? {
        let path = directory.path(of: name)
        var status = stat()
        guard fstatat(directory.number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
            guard errno == ENOENT else { throw Failure.system("cannot look at", at: path) }
            return nil
        }
        let hint =
            "what is in it may be anybody's: move it away, or make it root's with mode 0700 if you know what it holds"
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw Failure(.denied, "not a folder, where the snapshots belong", at: path, hint: hint)
        }
        let folder = try Descriptor(opening: name, in: directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
        try folder.requirePrivate(hint: hint)
        return folder
    }

    private func requireWritable() throws {
        let number = volume.directory.number
        var isReadOnly = false
        try btrfs("cannot ask about the subvolume", at: volume.path) {
            btrfs_util_get_subvolume_read_only_fd(number, &isReadOnly)
        }
        guard !isReadOnly else {
            throw Failure(
                .denied, "the volume is a read-only subvolume, and its snapshots are kept in it",
                at: volume.path,
                hint: "back up the one that it is a snapshot of, or take a writable snapshot of it; "
                    + "where it was only set so: btrfs property set \(volume.path) ro false")
        }
    }
}

// MARK: - Entries

extension Slots {
    private enum Entry {
        case subvolume
        case stub
    }

    /// What has that name; nil where nothing has.
    ///
    /// - Throws: `badData` where it is something that we never made.
    private func entry(_ name: String, in directory: borrowing Descriptor) throws -> Entry? {
        var status = stat()
        guard fstatat(directory.number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
            guard errno == ENOENT else {
                throw Failure.system("cannot look at", at: directory.path(of: name))
            }
            return nil
        }
        let isFolder = status.st_mode & S_IFMT == S_IFDIR
        if isFolder, status.st_ino == stubInode { return .stub }
        // The root of a subvolume has always this number (BTRFS_FIRST_FREE_OBJECTID).
        guard isFolder, status.st_ino == 256 else {
            throw Failure(
                .badData, "not a snapshot, where only snapshots belong", at: directory.path(of: name),
                hint: "it is none of escapepod's: move it away")
        }
        return .subvolume
    }

    private func exists(_ name: String, in directory: borrowing Descriptor) throws -> Bool {
        var status = stat()
        if fstatat(directory.number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 { return true }
        guard errno == ENOENT else { throw Failure.system("cannot look at", at: directory.path(of: name)) }
        return false
    }

    private func clearStubs(in directory: borrowing Descriptor) throws {
        for name in Slot.allCases.map(\.rawValue) + [Slots.staging] {
            guard case .stub = try entry(name, in: directory) else { continue }
            guard unlinkat(directory.number, name, AT_REMOVEDIR) == 0 else {
                throw Failure.system("cannot remove the stub", at: directory.path(of: name))
            }
        }
    }

    /// The snapshots that lie in slots of this store in other subvolumes; none where we may not look.
    private func remnants() -> [(slot: Slot, path: [UInt8], uuid: String, receivedUUID: String?)] {
        var remnants: [(slot: Slot, path: [UInt8], uuid: String, receivedUUID: String?)] = []
        let slots = Slot.allCases.map { ($0, Array("/\(Slots.home)/\(name)/\($0.rawValue)".utf8)) }
        try? volume.subvolumes(below: Subvolume.topLevel) { path, info in
            // One of the top level itself has no slash in front.
            let full = [UInt8(ascii: "/")] + path
            guard let (slot, _) = slots.first(where: { full.suffix($1.count).elementsEqual($1) }),
                let uuid = uuidOrNil(info.uuid)
            else { return }
            remnants.append((slot, path, uuid, uuidOrNil(info.received_uuid)))
        }
        return remnants
    }

    private func snapshot(_ slot: Slot, in directory: borrowing Descriptor) throws -> Snapshot? {
        guard case .subvolume = try entry(slot.rawValue, in: directory) else { return nil }
        return try held(slot, in: directory)
    }

    private func held(_ slot: Slot, in directory: borrowing Descriptor) throws -> Snapshot {
        try Snapshot(of: Subvolume(slot.rawValue, in: directory), slot: slot)
    }

    private func take(_ source: borrowing Subvolume, as name: String, in directory: borrowing Descriptor)
        throws
    {
        let (from, to) = (source.directory.number, directory.number)
        let (what, place) = ("cannot take a snapshot", directory.path(of: name))
        var code: Int32 = 0
        do {
            try btrfs(what, at: place) {
                let error = btrfs_util_create_snapshot_fd2(
                    from, to, name, BTRFS_UTIL_CREATE_SNAPSHOT_READ_ONLY, nil, nil)
                code = errno
                return error
            }
        } catch {
            switch code {
            case ETXTBSY:
                throw Failure(
                    .io, "\(what): a swap file is in use in the volume",
                    at: swapFile(in: source) ?? source.path,
                    hint:
                        "btrfs takes none while it is: swapoff it, and make it anew in a subvolume of its own"
                )
            case ENOSPC, EDQUOT:
                throw Failure.system(
                    what, at: place, errno: code,
                    hint: "make room in the volume itself, which is not the store: "
                        + "btrfs filesystem usage \(volume.path) shows where it went")
            default: throw error
            }
        }
    }

    /// The swap file that is in use in that subvolume.
    private func swapFile(in subvolume: borrowing Subvolume) -> String? {
        guard let device = try? subvolume.directory.status().st_dev,
            let table = try? Descriptor(opening: "/proc/swaps", O_RDONLY).readAll(limit: 1 << 20)
        else { return nil }
        for line in table.split(separator: UInt8(ascii: "\n")).dropFirst() {
            let path = octalsUnescaped(line.prefix { $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\t") })
            var status = stat()
            if lstat(path.map { CChar(bitPattern: $0) } + [0], &status) == 0, status.st_dev == device,
                status.st_mode & S_IFMT == S_IFREG
            {
                return printable(path)
            }
        }
        return nil
    }

    private func delete(_ slot: Slot, in directory: borrowing Descriptor) throws {
        try delete(slot.rawValue, in: directory)
    }

    private func delete(_ name: String, in directory: borrowing Descriptor) throws {
        guard case .subvolume = try entry(name, in: directory) else { return }
        try requireOurs(name, in: directory)
        try Subvolume.delete(name, in: directory)
    }

    /// Ours is a snapshot of this volume, or a read-only one of another: a received one, or of what the volume was before a
    /// rollback. A subvolume in which somebody works is not.
    private func requireOurs(_ name: String, in directory: borrowing Descriptor) throws {
        let there = try Snapshot(of: Subvolume(name, in: directory))
        let live = try Snapshot(of: volume)
        guard there.parentUUID == live.uuid || there.isReadOnly && there.parentUUID != nil else {
            throw Failure(
                .badData, "will not delete what is no snapshot of the volume", at: directory.path(of: name),
                hint: "it is none of escapepod's: move it away")
        }
    }

    private func rename(_ name: String, to slot: Slot, in directory: borrowing Descriptor) throws {
        guard renameat(directory.number, name, directory.number, slot.rawValue) == 0 else {
            throw Failure.system("cannot rename to \(slot.rawValue)", at: directory.path(of: name))
        }
    }
}
