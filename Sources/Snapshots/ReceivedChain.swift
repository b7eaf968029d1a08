/// How far a chain of backups has been received in a scratch folder, and what becomes of its snapshots there.
public enum ReceivedChain {
    /// A backup, which is received under that name.
    public struct Backup: Equatable, Sendable {
        public let name: String
        public let size: String
        /// The received UUID that it has once it is whole.
        public let received: String

        public init(name: String, size: String, received: String) {
            self.name = name
            self.size = size
            self.received = received
        }
    }

    /// A backup that is still to be received.
    public struct Lacking: Equatable, Sendable {
        public let backup: Backup
        /// The one that it is received upon; nil for the full one.
        public let parent: String?
        /// What is of no use any more once it is there.
        public let spare: String?
    }

    /// What is still to be received, after what a run before this one received whole, of which all that is of no use any more
    /// is deleted.
    ///
    /// - Parameter chain: the full one first.
    public static func resume(_ chain: [Backup], in scratch: borrowing Scratch) throws -> [Lacking] {
        var there = 0
        if scratch.has(chain[0].name, received: chain[0].received) {
            for (index, backup) in chain.enumerated()
            where scratch.has(backup.name, received: backup.received) { there = index + 1 }
        }
        for index in 1..<max(there, 1) where isSpare(index, of: chain.count, behind: there - 1) {
            try scratch.delete(chain[index].name)
        }
        return chain.indices.dropFirst(there).map { index in
            Lacking(
                backup: chain[index], parent: index > 0 ? chain[index - 1].name : nil,
                spare: isSpare(index - 1, of: chain.count, behind: index) ? chain[index - 1].name : nil)
        }
    }

    /// Which slots the machine that is gone had: the full one and the newest two stay.
    public static func slots(_ chain: [Backup]) -> [(slot: Slot, name: String)] {
        let newer = zip([Slot.currentParent, .lastParent], chain.dropFirst().reversed())
        return [(.root, chain[0].name)] + newer.map { (slot: $0, name: $1.name) }
    }

    /// Whether one is neither the full one nor a parent of what comes, and no slot needs it, once the one at `last` is there.
    private static func isSpare(_ index: Int, of count: Int, behind last: Int) -> Bool {
        index > 0 && index < last && last < count - 1
    }
}
