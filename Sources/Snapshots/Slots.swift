import Glibc
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

/// What kind of backup the slots turn after.
public enum BackupType: String, CaseIterable, Sendable {
    case full
    case incremental
}

/// The slots of one store in one volume: `VOLUME/.escapepod/STORE/SLOT`.
///
/// No two processes may change them at once; the caller holds a lock. A process that dies in the middle leaves a
/// state from which the same call goes on: what a step needs moves away last.
public struct Slots: ~Copyable {
    static let home = ".escapepod"
    /// Where `adopt` puts a snapshot until it is there.
    private static let staging = "adopting"

    private let volume: Subvolume
    private let store: String

    /// - Parameter store: 1 to 64 characters of `A-Za-z0-9._-`, not starting with a dot.
    public init(in volume: consuming Subvolume, store: String) throws {
        let isName = store.utf8.allSatisfy {
            switch $0 {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "-"):
                true
            default: false
            }
        }
        guard isName, (1...64).contains(store.utf8.count), !store.hasPrefix(".") else {
            throw Failure(
                .usage, "no name for a store", at: store,
                hint: "1 to 64 letters, digits, dots, dashes and underscores, not starting with a dot")
        }
        self.volume = volume
        self.store = store
    }

    /// The slots that are taken, in the order of `Slot`.
    public func list() throws -> [Snapshot] {
        guard let directory = try directory() else { return [] }
        var snapshots: [Snapshot] = []
        for slot in Slot.allCases {
            if let snapshot = try snapshot(slot, in: directory) { snapshots.append(snapshot) }
        }
        return snapshots
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
                hint: "unless a backup is running: ep-snap turn if it was committed, ep-snap discard if not")
        }
        try volume.snapshot(as: slot.rawValue, in: directory, readOnly: true)
        return try held(slot, in: directory)
    }

    /// Moves the slots on after a committed backup of `currentState`; without one there is nothing to do.
    public func turn(after type: BackupType) throws {
        guard let directory = try directory(), try snapshot(.currentState, in: directory) != nil else {
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
        guard let directory = try directory() else { return }
        try delete(.currentState, in: directory)
    }

    /// Puts a snapshot of a received snapshot into a slot, in place of what is there. It is read-only and keeps the
    /// received UUID, so the next backup can be an incremental one.
    ///
    /// - Throws: `badData` where `source` is writable, was not received, or lies on another file system.
    public func adopt(_ source: borrowing Subvolume, into slot: Slot) throws -> Snapshot {
        let received = try Snapshot(of: source)
        guard received.isReadOnly, received.receivedUUID != nil else {
            throw Failure(
                .badData, received.isReadOnly ? "the snapshot was not received" : "the snapshot is writable",
                at: source.path, hint: "name a snapshot that btrfs receive brought to its end")
        }
        let directory = try made()
        if let there = try snapshot(slot, in: directory), there.uuid == received.uuid { return there }
        try delete(Slots.staging, in: directory)
        try source.snapshot(as: Slots.staging, in: directory, readOnly: true)
        try delete(slot, in: directory)
        try rename(Slots.staging, to: slot, in: directory)
        return try held(slot, in: directory)
    }
}

// MARK: - Steps

extension Slots {
    /// The directory of the slots; nil where it is not there.
    private func directory() throws -> Descriptor? {
        let path = "\(Slots.home)/\(store)"
        guard try exists(path, in: volume.directory) else { return nil }
        return try open(store, in: open(Slots.home, in: volume.directory))
    }

    /// The directory of the slots, made where it is not there.
    private func made() throws -> Descriptor {
        try make(Slots.home, in: volume.directory)
        let home = try open(Slots.home, in: volume.directory)
        try make(store, in: home)
        return try open(store, in: home)
    }

    private func make(_ name: String, in directory: borrowing Descriptor) throws {
        guard mkdirat(directory.number, name, 0o700) == 0 || errno == EEXIST else {
            throw Failure.system("cannot make the directory", at: directory.path(of: name))
        }
    }

    private func open(_ name: String, in directory: borrowing Descriptor) throws -> Descriptor {
        try Descriptor(opening: name, in: directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
    }

    private func exists(_ name: String, in directory: borrowing Descriptor) throws -> Bool {
        var status = stat()
        if fstatat(directory.number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 { return true }
        guard errno == ENOENT else { throw Failure.system("cannot look at", at: directory.path(of: name)) }
        return false
    }

    private func snapshot(_ slot: Slot, in directory: borrowing Descriptor) throws -> Snapshot? {
        guard try exists(slot.rawValue, in: directory) else { return nil }
        return try held(slot, in: directory)
    }

    private func held(_ slot: Slot, in directory: borrowing Descriptor) throws -> Snapshot {
        try Snapshot(of: Subvolume(slot.rawValue, in: directory), slot: slot)
    }

    private func delete(_ slot: Slot, in directory: borrowing Descriptor) throws {
        try delete(slot.rawValue, in: directory)
    }

    private func delete(_ name: String, in directory: borrowing Descriptor) throws {
        guard try exists(name, in: directory) else { return }
        // What is no subvolume is not ours: say so before anything goes.
        _ = try Subvolume(name, in: directory)
        try Subvolume.delete(name, in: directory)
    }

    private func rename(_ name: String, to slot: Slot, in directory: borrowing Descriptor) throws {
        guard renameat(directory.number, name, directory.number, slot.rawValue) == 0 else {
            throw Failure.system("cannot rename to \(slot.rawValue)", at: directory.path(of: name))
        }
    }
}
