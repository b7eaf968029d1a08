import Plumbing

/// The slots of one store in one volume: `VOLUME/.escapepod/NAME/SLOT`.
///
/// The volume's root folder may belong to anybody, but the two folders below it must be root's or ours, and closed to
/// others; so they contain only what we put there, whatever happens to their names meanwhile. Nothing but the slots is ever
/// touched, and only snapshots are deleted.
///
/// No two processes may change them at once; the caller holds a lock. A process that dies in the middle leaves a
/// state from which the same call continues: what a step needs is moved away last.
public struct Slots: ~Copyable {
    static let home = ".escapepod"
    /// Where `importSnapshot` puts a snapshot until it is there.
    static let staging = "importing"

    let volume: Subvolume
    let name: String

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
                .usage, "not a valid name for the slots' folder", at: name,
                hint: "1 to 64 letters, digits, dots, dashes and underscores, not starting with a dot")
        }
    }

    /// The occupied slots, in the order of `Slot`.
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

    /// Takes a read-only snapshot of the volume into `currentState`, with the record of the inode flags that are in it. It is
    /// on stable storage when this returns.
    ///
    /// - Parameter warn: is told if the record is not what it should be.
    /// - Throws: `busy` where that slot is taken.
    public func create(warn: (String) -> Void) throws -> Snapshot {
        let directory = try made()
        let slot = Slot.currentState
        guard try snapshot(slot, in: directory) == nil else {
            throw Failure(
                .busy, "the slot is occupied", at: directory.path(of: slot.rawValue),
                hint: "if no backup is running: ep-snap rotate if it was committed, ep-snap discard if not"
            )
        }
        guard try InodeFlags(of: volume.directory).isDisjoint(with: .protecting) else {
            throw Failure(
                .denied, "the root of the volume is immutable or append-only, and so would be its snapshots",
                at: volume.path, hint: "they could be neither renamed nor deleted: chattr -ia \(volume.path)")
        }
        let known = try knownFlags()
        if let home = try home(), try FlagRecord(in: volume) == nil { try FlagRecord().write(in: home) }
        try take(volume, as: slot.rawValue, in: directory)
        do {
            try recordFlags(in: slot, of: directory, known, warn: warn)
        } catch {
            try? delete(slot, in: directory)
            throw error
        }
        return try held(slot, in: directory)
    }

    /// Sees to it that the snapshot in a slot has the record of its own inode flags. Where it has not, since they have
    /// changed, the record is written into the volume, and the snapshot taken again. So a record is never older or newer
    /// than what it is of, and most snapshots need no second one.
    private func recordFlags(
        in slot: Slot, of directory: borrowing Descriptor, _ known: KnownFlags?, warn: (String) -> Void
    ) throws {
        for attempt in 1... {
            let snapshot = try Subvolume(slot.rawValue, in: directory)
            var warnings: [String] = []
            let record = try snapshot.flagRecord(known) { warnings.append($0) }
            let isRecorded = try FlagRecord(in: snapshot) == record
            if !isRecorded, attempt == Slots.attempts {
                warnings.append(
                    "the inode flags changed while they were recorded; what changed last will not come back")
            }
            guard let home = try home() else { return }
            guard !isRecorded, attempt < Slots.attempts else {
                // The next one then does not rely on this one.
                if !warnings.isEmpty { try FlagRecord.remove(from: home) }
                return warnings.forEach(warn)
            }
            try record.write(in: home)
            try delete(slot, in: directory)
            try take(volume, as: slot.rawValue, in: directory)
        }
    }

    /// What the newest snapshot that the next backup can build on knows of the flags; nil if its record is not complete, and if
    /// it is of another volume, as after a restore, or was changed.
    func knownFlags() throws -> KnownFlags? {
        guard let directory = try directory(), try FlagRecord(in: volume) != nil else { return nil }
        let live = try Snapshot(of: volume)
        for slot in [Slot.currentParent, .root] {
            guard let there = try snapshot(slot, in: directory) else { continue }
            guard there.parentUUID == live.uuid, there.isReadOnly, !there.isChanged else { return nil }
            do {
                return try KnownFlags(of: there, Subvolume(slot.rawValue, in: directory))
            } catch let failure as Failure where failure.status == .badData {
                return nil
            }
        }
        return nil
    }

    /// How many snapshots are taken of a volume whose inode flags change all the time.
    private static let attempts = 4

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
                .busy, "the new name is taken", at: home.path(of: name),
                hint: "remove the snapshots there if no backup builds on them")
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
                at: source.path, hint: "give a snapshot that btrfs receive has completed")
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
