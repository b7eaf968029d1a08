import Plumbing

/// The backups that a restore reads: a full one, and what builds on it up to the wanted backup, oldest first.
public struct RestoreChain: Sendable {
    public let backups: [Backup]
    /// Whether the wanted backup is the newest in the store.
    public let isNewest: Bool
    /// Whether metadata of newer backups is damaged, so that it could not be told whether they are the wanted one.
    public let passedOverDamage: Bool

    /// - Parameters:
    ///   - generation: the wanted backup; nil for the newest.
    ///   - store: what messages call it.
    /// - Throws: `notFound` where there is no such backup, or it was pruned; `badData` or `io` where the chain to it is broken.
    public init(to generation: Int64?, in history: History, of store: String) throws {
        let entries = history.entries
        let (found, passedOver) = try RestoreChain.find(generation, in: history, of: store)
        var chain: [Backup] = []
        var next: Int? = found
        while let index = next {
            let backup = try entries[index].requireBackup(in: store)
            if let pruning = history.pruned[backup.sha256] {
                throw Failure(
                    .notFound, "generation \(backup.generation) was pruned on \(pruning.date)", at: store,
                    hint: "escapepod prune --undo brings back what is still in the trash of the store")
            }
            chain.append(backup)
            guard let base = entries[index].base else { break }
            guard let there = base.index else {
                throw Failure(
                    .badData,
                    "generation \(backup.generation) builds on generation \(base.generation), "
                        + (base.isAnother ? "which is another now" : "which is not there, or damaged"),
                    at: store,
                    hint:
                        "escapepod verify names what is missing, damaged or replaced; an older generation may be whole"
                )
            }
            next = there
        }
        backups = chain.reversed()
        isNewest = found == entries.count - 1
        passedOverDamage = passedOver
    }

    /// The entry of the wanted backup.
    private static func find(
        _ generation: Int64?, in history: History, of store: String
    ) throws -> (index: Int, passedOverDamage: Bool) {
        let entries = history.entries
        func lacks(_ name: String, passedOver: Bool) -> Failure {
            passedOver
                ? Failure(.badData, "no \(name) that can be read", at: store)
                : Failure(.notFound, "no \(name)", at: store, hint: "escapepod list shows what there is")
        }
        guard let generation else {
            guard let last = entries.last else {
                throw lacks("backup of \(history.domain)", passedOver: false)
            }
            _ = try last.requireBackup(in: store)
            return (entries.count - 1, false)
        }
        var passedOver = false
        // No generation comes later than its number says; so what somebody appended later does not get in the way.
        for index in (0..<min(entries.count, Int(clamping: generation))).reversed() {
            if case .damaged = entries[index].content {
                passedOver = true
                continue
            }
            if try entries[index].requireBackup(in: store).generation == generation {
                return (index, passedOver)
            }
        }
        throw lacks("generation \(generation) of \(history.domain)", passedOver: passedOver)
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
