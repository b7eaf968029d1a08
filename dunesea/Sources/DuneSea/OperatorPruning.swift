import DurableFiles
import Plumbing
public import StoreFormat

/// What the operator of a store does with the blobs of a domain, beside a running server or without one, and without a key.
public struct OperatorPruning {
    private let places: Places
    private let folders: Folders

    /// What went or came, and how much that is.
    public struct Outcome {
        public let blobs: Int
        public let bytes: UInt64
    }

    /// Blocks, as all of it.
    ///
    /// - Throws: `notFound` where the store has no such domain.
    public init(of domain: Domain, in directory: String) throws {
        try Places.becomeOwner(of: directory)
        let top = Folder(try .folder(at: directory))
        guard try top.folder(Layout.root)?.folder(domain.description) != nil else {
            throw Failure(.notFound, "no backup of \(domain)", at: directory)
        }
        places = try Places(in: directory)
        folders = try Folders(of: domain, in: places)
    }

    /// Moves to the trash what came in more than `age` seconds ago and is needed by nothing younger, the newest backup not
    /// counted.
    ///
    /// - Parameter isRehearsal: nothing is moved.
    public func discard(keepingAtLeast age: Int64, isRehearsal: Bool) throws -> Outcome {
        try folders.own.locked {
            let holdings = try Holdings(in: folders)
            let held = holdings.held(for: age)
            let leaving = holdings.stored.keys.filter { !held.contains($0) }.sorted { $0.hex < $1.hex }
            if !isRehearsal { _ = try folders.discard(leaving, of: holdings) }
            return Outcome(blobs: leaving.count, bytes: size(of: leaving, in: holdings.stored))
        }
    }

    /// Brings back all that is in the trash.
    public func recover() throws -> Outcome {
        try folders.own.locked {
            let holdings = try Holdings(in: folders)
            let all = Array(holdings.trash.keys)
            _ = try folders.recover(all, of: holdings)
            return Outcome(blobs: all.count, bytes: size(of: all, in: holdings.trash))
        }
    }

    /// Removes for good what came to the trash so many seconds ago, or before that.
    ///
    /// - Returns: nil where a server is running: it counts what a domain uses, and removes them itself within a minute.
    public func emptyTrash(olderThan age: Int64) throws -> UInt64? {
        try folders.own.locked {
            do {
                let lock = try places.own.withDescriptor { try Lock(Store.lock, in: $0, within: 0) }
                defer { withExtendedLifetime(lock) {} }
                return try folders.emptyTrash(olderThan: age)
            } catch let failure as Failure where failure.status == .busy {
                try folders.letTrashAge(olderThan: age)
                return nil
            }
        }
    }

    private func size(of blobs: [Address], in items: [Address: Holdings.Item]) -> UInt64 {
        blobs.reduce(0) { $0.addingClamped(items[$1]?.size ?? 0) }
    }
}
