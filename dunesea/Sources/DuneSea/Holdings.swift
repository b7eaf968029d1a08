import DurableFiles
import Glibc
import Plumbing
import StoreFormat

/// What a pruning may take, whoever asks for it.
public struct PruningRules: Sendable {
    /// Seconds for which everything stays that came in, with what it builds on.
    public var keepAtLeast: Int64 = 30 * 86400
    /// Percent of what may go that goes within a day.
    public var share: UInt64 = 25
    /// Seconds that something is in the trash: a day at least, since the trash tells what has gone within one.
    public var trashAge: Int64 = 7 * PruningRules.day

    static let day: Int64 = 86400

    public init() {}
}

/// What a domain has at one moment, as its folders tell it. Whoever acts upon it holds their lock.
struct Holdings {
    struct Item {
        let size: UInt64
        /// In the trash, when it came there; in seconds since 1970, as all times here.
        let modified: Int64
    }

    private struct Backup {
        let blob: Address
        /// Nil for a full one, or where that is not in the history.
        let parent: Address?
        /// No earlier than the one before it: a clock that was wrong makes nothing older.
        let received: Int64
    }

    let stored: [Address: Item]
    let trash: [Address: Item]
    /// Oldest first.
    private let backups: [Backup]
    private let now: Int64

    /// Blocks.
    init(in folders: Folders) throws {
        let now = Int64(time(nil))
        stored = try Holdings.items(in: folders.blobs)
        trash = try Holdings.items(in: folders.trash)
        self.now = now
        let receipts = try Receipt.all(in: folders.records)
        var backups: [Backup] = []
        for entry in try History(of: folders.metadata.visibleNames(), at: "").entries {
            let receipt = receipts[entry.name]
            // Where none is known, as in a copy of a store, the one before is what it may need.
            let parent = receipt == nil ? backups.last?.blob : receipt?.parent
            let received = try receipt?.received ?? folders.metadata.extent(of: entry.name)?.modified ?? now
            backups.append(
                Backup(
                    blob: entry.address, parent: parent,
                    received: max(received, backups.last?.received ?? received)))
        }
        self.backups = backups
    }

    private static func items(in folder: Folder) throws -> [Address: Item] {
        var items: [Address: Item] = [:]
        for name in try folder.visibleNames() {
            guard let address = try? Address(name), let file = try folder.extent(of: name) else { continue }
            items[address] = Item(size: file.length, modified: file.modified)
        }
        return items
    }

    /// The blobs that stay: those that came in less than so many seconds ago, the newest backup's, and what these build on.
    func held(for age: Int64) -> Set<Address> {
        var held: Set<Address> = []
        let places = Dictionary(backups.enumerated().map { ($1.blob, $0) }) { first, _ in first }
        for index in backups.indices.reversed() {
            let backup = backups[index]
            let isYoung = now - backup.received < age || index == backups.count - 1
            guard isYoung || held.contains(backup.blob) else { continue }
            held.insert(backup.blob)
            // What was committed after it, it cannot build on.
            if let parent = backup.parent, places[parent, default: .max] < index { held.insert(parent) }
        }
        for (blob, item) in stored where places[blob] == nil && now - item.modified < age {
            held.insert(blob)
        }
        return held
    }

    /// Those of the blobs that may go now, in the order in which they are asked for.
    func leaving(_ wanted: [Address], under rules: PruningRules) -> [Address] {
        let held = held(for: rules.keepAtLeast)
        func size(_ items: [Address: Item], _ counts: (Address, Item) -> Bool) -> UInt64 {
            items.reduce(0) { counts($1.key, $1.value) ? $0.addingClamped($1.value.size) : $0 }
        }
        let gone = size(trash) { now - $1.modified < PruningRules.day }
        let all = size(stored) { blob, _ in !held.contains(blob) }.addingClamped(gone)
        let share = all / 100 * rules.share + all % 100 * rules.share / 100
        var left = share - min(share, gone)
        var leaving: [Address] = []
        for blob in wanted {
            guard let item = stored[blob], !held.contains(blob) else { continue }
            // One that is greater than any share would never go.
            guard item.size <= left || gone == 0 && leaving.isEmpty else { continue }
            left -= min(left, item.size)
            leaving.append(blob)
        }
        return leaving
    }

    /// What a client is shown.
    func entries(under rules: PruningRules) -> [BlobEntry] {
        let held = held(for: rules.keepAtLeast)
        let received = Dictionary(backups.map { ($0.blob, $0.received) }) { first, _ in first }
        func entries(_ items: [Address: Item], _ state: (Address) -> BlobEntry.State) -> [BlobEntry] {
            items.map { blob, item in
                let state = state(blob)
                let since = state == .trash ? item.modified : received[blob] ?? item.modified
                return BlobEntry(address: blob, size: item.size, age: max(0, now - since), state: state)
            }
        }
        return entries(stored) { held.contains($0) ? .held : .stored } + entries(trash) { _ in .trash }
    }
}

// MARK: - To the trash and back

extension Folders {
    private static let prunedFile = "pruned"

    /// The blobs that went to the trash and did not come back: what is missing of them is not lost. Blocks, as all that follows,
    /// and whoever calls that holds the lock.
    ///
    /// - Parameter records: what the server has noted of the domain.
    static func pruned(by records: Folder) throws -> Set<Address> {
        guard try records.length(ofFile: Folders.prunedFile) != nil else { return [] }
        let bytes = try records.read(Folders.prunedFile, limit: 100 * StoreLimits.history)
        return Set(
            try bytes.split(separator: UInt8(ascii: "\n")).map {
                try Address(String(decoding: $0, as: UTF8.self))
            })
    }

    private func note(_ pruned: Set<Address>) throws {
        try records.put(
            Array(pruned.map(\.hex).sorted().map { "\($0)\n" }.joined().utf8), as: Folders.prunedFile,
            stagedAs: "pruned.new", mode: 0o600, taken: .replaced)
    }

    /// - Parameter moved: those that are stored.
    /// - Returns: the length in bytes of copies that were in the trash and are replaced.
    func discard(_ moved: [Address], of holdings: Holdings) throws -> UInt64 {
        guard !moved.isEmpty else { return 0 }
        return try reserve.givingUp {
            try note(Folders.pruned(by: records).union(moved))
            for blob in moved {
                // Its time there counts from now.
                try blobs.touch(blob.hex)
                try blobs.rename(blob.hex, into: trash, as: blob.hex)
            }
            // Where it is seen first: what is in both after a crash is not lost.
            try trash.sync()
            try blobs.sync()
            return moved.reduce(0) { $0.addingClamped(holdings.trash[$1]?.size ?? 0) }
        }
    }

    /// - Parameter wanted: of which some may be in the trash.
    /// - Returns: the length in bytes of copies that were stored anew meanwhile and are replaced.
    func recover(_ wanted: [Address], of holdings: Holdings) throws -> UInt64 {
        let moved = wanted.filter { holdings.trash[$0] != nil }
        guard !moved.isEmpty else { return 0 }
        for blob in moved {
            try trash.touch(blob.hex)
            try trash.rename(blob.hex, into: blobs, as: blob.hex)
        }
        try blobs.sync()
        try trash.sync()
        try note(Folders.pruned(by: records).subtracting(moved))
        return moved.reduce(0) { $0.addingClamped(holdings.stored[$1]?.size ?? 0) }
    }

    /// Removes for good what came to the trash so many seconds ago, or before that.
    ///
    /// - Returns: its length in bytes.
    func emptyTrash(olderThan age: Int64) throws -> UInt64 {
        var freed: UInt64 = 0
        for (name, length) in try inTrash(for: age) {
            try trash.delete(name)
            freed = freed.addingClamped(length)
        }
        guard freed > 0 else { return 0 }
        try trash.sync()
        reserve.make()
        return freed
    }

    /// Makes that old enough for any age.
    func letTrashAge(olderThan age: Int64) throws {
        for (name, _) in try inTrash(for: age) { try trash.touch(name, at: 0) }
    }

    private func inTrash(for age: Int64) throws -> [(name: String, length: UInt64)] {
        let now = Int64(time(nil))
        return try trash.visibleNames().compactMap { name in
            guard (try? Address(name)) != nil, let file = try trash.extent(of: name),
                now - file.modified >= age
            else { return nil }
            return (name, file.length)
        }
    }
}
