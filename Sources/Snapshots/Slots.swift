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

    /// Takes a read-only snapshot of the volume into `currentState`. It is on stable storage when this returns.
    ///
    /// - Throws: `busy` where that slot is taken.
    public func create() throws -> Snapshot {
        let directory = try made()
        let slot = Slot.currentState
        guard try snapshot(slot, in: directory) == nil else {
            throw Failure(
                .busy, "the slot is occupied", at: directory.path(of: slot.rawValue),
                hint: "if no backup is running: ep-snap rotate if it was committed, ep-snap discard if not"
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
