import Plumbing

/// The backups that a restore reads: a full one, and the incremental ones up to the wanted backup, oldest first.
public struct RestoreChain: Sendable {
    public let backups: [Backup]
    /// Whether the wanted backup is the newest in the store.
    public let isNewest: Bool
    /// Whether metadata of newer backups is damaged, so that it could not be told whether they are the wanted one.
    public let passedOverDamage: Bool

    /// - Parameters:
    ///   - generation: the wanted backup; nil for the newest.
    ///   - store: what messages call it.
    /// - Throws: `notFound` where there is no such backup; `badData` or `io` where the chain to it is broken.
    public init(to generation: Int64?, in history: History, of store: String) throws {
        let (domain, entries) = (history.domain, history.entries)
        var (chain, passedOver, newest): ([Backup], Bool, Bool) = ([], false, false)
        // No generation comes later than its number says; so what somebody appended later does not get in the way.
        let top = min(entries.count, generation.map { Int(clamping: $0) } ?? .max)
        for index in (0..<top).reversed() {
            let entry = entries[index]
            if chain.isEmpty, generation != nil, case .damaged = entry.content {
                passedOver = true
                continue
            }
            let backup = try entry.requireBackup(in: store)
            if chain.isEmpty {
                guard generation == nil || generation == backup.generation else { continue }
                newest = index == entries.count - 1
            }
            chain.append(backup)
            if backup.type == .full { break }
            guard index > 0 else { break }
            guard case .backup(_, _, let isLinked) = entry.content, isLinked else {
                throw Failure(
                    .badData,
                    "generation \(backup.generation) was not made on the backup before it", at: store,
                    hint: "escapepod verify names what is missing, damaged or replaced")
            }
        }
        guard let wanted = chain.first else {
            let name = generation.map { "generation \($0) of \(domain)" } ?? "backup of \(domain)"
            throw passedOver
                ? Failure(.badData, "no \(name) that can be read", at: store)
                : Failure(.notFound, "no \(name)", at: store, hint: "escapepod list shows what there is")
        }
        guard chain.last?.type == .full else {
            throw Failure(
                .badData, "the full backup of the chain to generation \(wanted.generation) is missing",
                at: store, hint: "an older generation may be whole")
        }
        backups = chain.reversed()
        isNewest = newest
        passedOverDamage = passedOver
    }

    /// The sealed bytes to read.
    public var size: Int64 { backups.reduce(0) { $0 + $1.size } }

    /// The room in bytes that a restore takes, at most: at one time the full one and two that follow each other are there.
    public var need: Int64 {
        let lengths = backups.map { $0.uncompressed ?? $0.size }
        let sizes = lengths.dropFirst()
        let pairs = zip(sizes, sizes.dropFirst() + [0]).map { $0 + $1 }
        return (lengths.first ?? 0) + (pairs.max() ?? 0)
    }
}

extension History {
    /// Checks that the store does not hide backups that are known to exist.
    ///
    /// - Parameter floor: a generation that is known to have existed.
    /// - Throws: `badData` where the newest one is older.
    public func requireNewest(atLeast floor: Int64, of store: String) throws {
        guard let last = entries.last else { return }
        let newest = try last.requireBackup(in: store)
        guard newest.generation >= floor else {
            throw Failure(
                .badData,
                "the newest backup in the store is generation \(newest.generation) of \(newest.date), "
                    + "but there was a generation \(floor)", at: store,
                hint: "look for a newer copy of the store; to restore what is there, use "
                    + "--generation \(newest.generation) without --at-least-generation")
        }
    }
}
