import Plumbing

/// When a chain is cut short: how old the full backup and the differential one may get. Their sizes count in any case.
public struct Policy: Sendable {
    /// In seconds; nil for never.
    public let fullEvery: Int64?
    public let differentialEvery: Int64?

    public init(fullEvery: Int64?, differentialEvery: Int64?) {
        self.fullEvery = fullEvery
        self.differentialEvery = differentialEvery
    }

    /// What the next backup has to be.
    enum Verdict: Equatable {
        case incremental
        case differential(why: String)
        case full(why: String)
    }

    /// A chain that is shorter than that in all is read so quickly that nothing is gained.
    static let trifle: Int64 = 256 << 20
    /// Clocks that go wrong do not make a chain without end.
    static let longest: Int64 = 1000

    /// - Parameters:
    ///   - head: the newest backup.
    ///   - now: ages are reckoned to that; what is younger than it has no age.
    func verdict(on head: Metadata, at now: Time) -> Verdict {
        let root = head.root
        func age(_ backup: Backup) -> Int64 { Time(backup.date).map(now.since) ?? 0 }
        if let fullEvery, age(root) >= fullEvery {
            return .full(
                why: "the last full backup, generation \(root.generation), is \(span(age(root))) old")
        }
        // The next incremental one is a differential one.
        guard let differential = head.differential else { return .incremental }
        let behind = head.behind
        guard behind.count > 0, let why = due(since: differential, behind, root, age(differential)) else {
            return .incremental
        }
        // At most: what was changed again and again is in it once.
        let expected = differential.size + behind.size
        if root.size >= Policy.trifle, expected >= root.size / 4 * 3 {
            return .full(
                why:
                    "\(why), and one from generation \(root.generation) would be nearly as large as a full one"
            )
        }
        return .differential(why: why)
    }

    private func due(
        since differential: Backup, _ behind: (count: Int64, size: Int64), _ root: Backup, _ age: Int64
    ) -> String? {
        let last = "the last differential backup, generation \(differential.generation)"
        if let differentialEvery, age >= differentialEvery {
            return "\(last), is \(span(age)) old"
        }
        if behind.count >= Policy.longest { return "\(behind.count) backups lie behind \(last)" }
        if root.size >= Policy.trifle, behind.size >= root.size / 4 {
            return "what lies behind \(last), has a quarter of the size of the full one"
        }
        return nil
    }
}
