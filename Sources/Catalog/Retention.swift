import Plumbing

/// Which backups of a store stay under a policy, and why. The order is that of the generations; clocks may have jumped.
public struct Retention: Sendable {
    /// What a policy keeps.
    public struct Rules: Sendable {
        /// Of each of the last so many hours, days, weeks, months or years that have a backup, the first one.
        public let periods: [Periods]
        /// So many of the newest.
        public let last: Int
        /// What is younger than so many seconds.
        public let minimumAge: Int64
        /// The blobs that the store does not let go for now.
        public let held: Set<String>
        /// For a machine's member: what the sets that stay name, in place of periods and number. What came behind the last of that
        /// stays, too; where they name nothing of it, that is everything.
        public let named: Naming?

        public init(
            periods: [Periods], last: Int, minimumAge: Int64, held: Set<String> = [], named: Naming? = nil
        ) {
            self.periods = named == nil ? periods : []
            self.last = named == nil ? last : 0
            self.minimumAge = minimumAge
            self.held = held
            self.named = named
        }

        /// Whether no rule says what stays.
        var isEmpty: Bool { periods.isEmpty && last == 0 && named == nil }
    }

    public struct Periods: Equatable, Sendable {
        public let unit: Unit
        public let count: Int

        /// By UTC; a week begins on Monday.
        public enum Unit: String, CaseIterable, Sendable {
            case hour, day, week, month, year

            /// The same for two times in one of them.
            fileprivate func number(of time: Time) -> String {
                switch self {
                case .hour: String(time.date.prefix(13))
                case .day: String(time.date.prefix(10))
                // 1970 began on a Thursday.
                case .week: "\((time.seconds / 86400 + 3) / 7)"
                case .month: String(time.date.prefix(7))
                case .year: String(time.date.prefix(4))
                }
            }
        }

        /// - Parameter text: such as `14d`; nil for anything but a number from 1 to 9999 and h, d, w, m or y.
        public init?(_ text: some StringProtocol) {
            guard let unit = Unit.allCases.first(where: { $0.rawValue.first == text.last }),
                text.dropLast().utf8.allSatisfy({ (0x30...0x39).contains($0) }),
                let count = Int(text.dropLast()), (1...9999).contains(count)
            else { return nil }
            self.unit = unit
            self.count = count
        }
    }

    /// A backup, and why it stays; no reason where it goes.
    public struct Verdict: Sendable {
        public let backup: Backup
        public let reasons: [String]

        public var stays: Bool { !reasons.isEmpty }
    }

    /// Of each backup whose blob has not been pruned, oldest first.
    public let verdicts: [Verdict]

    /// How far the newest backup may lie behind the clock, in seconds, so that the clock is believed.
    static let plausible: Int64 = 400 * 86400

    /// - Parameter store: what messages call it.
    /// - Throws: `badData` where a document is damaged or does not follow the one before, where the time is before the newest
    ///   backup or far behind it, or where one that a set names is not there: nothing is decided then. `notFound` without a
    ///   backup. `usage` for rules that keep nothing.
    public init(of history: History, under rules: Rules, at now: Time, in store: String) throws {
        let backups = try Retention.sound(history, in: store)
        guard let newest = backups.last else {
            throw Failure(.notFound, "no backup of \(history.domain)", at: store)
        }
        guard !rules.isEmpty else {
            throw Failure(
                .usage, "no rule says what stays", hint: "such as --keep '14d 10w 12m 3y', or --keep-last 10")
        }
        let times = backups.map { Time($0.date) ?? now }
        // A member may have left its machine long ago.
        try Retention.require(
            plausible: now, after: Time(newest.date) ?? now,
            within: rules.named == nil ? Retention.plausible : .max, in: store)
        // What builds on a pruned one cannot be restored.
        var isWhole: [Bool] = []
        for (index, backup) in backups.enumerated() {
            isWhole.append(
                !history.isPruned(backup) && (history.entries[index].base?.index.map { isWhole[$0] } ?? true))
        }
        let whole = backups.indices.filter { isWhole[$0] }
        var reasons = [[String]](repeating: [], count: backups.count)
        for period in rules.periods {
            // Also a backup that is gone makes its period count: otherwise another run would not come to the same.
            var (order, firsts): ([String], [String: Int]) = ([], [:])
            var seen: Set<String> = []
            for index in backups.indices {
                let number = period.unit.number(of: times[index])
                if seen.insert(number).inserted { order.append(number) }
                if isWhole[index], firsts[number] == nil { firsts[number] = index }
            }
            for number in order.suffix(period.count) {
                if let index = firsts[number] { reasons[index].append("the first of its \(period.unit)") }
            }
        }
        if let named = rules.named {
            let places = try Retention.places(of: named, in: backups, history.domain, store)
            for (index, set) in places { reasons[index].append("generation \(set) of the machine needs it") }
            let newest = places.map(\.index).max() ?? -1
            for index in whole where index > newest { reasons[index].append("not part of a set yet") }
        }
        for index in whole.suffix(rules.last) { reasons[index].append("one of the last \(rules.last)") }
        for index in whole where now.seconds - times[index].seconds < rules.minimumAge {
            reasons[index].append("younger than \(span(rules.minimumAge))")
        }
        for index in whole.filter({ backups[$0].type == .full }).suffix(2) {
            reasons[index].append("one of the last two full ones")
        }
        if let last = whole.last { reasons[last].append("the newest") }
        for index in whole where rules.held.contains(backups[index].sha256) {
            reasons[index].append("the store keeps it for now")
        }
        // What a kept one builds on comes before it.
        for index in backups.indices.reversed() where !reasons[index].isEmpty {
            guard let base = history.entries[index].base?.index else { continue }
            reasons[base].append("generation \(backups[index].generation) builds on it")
        }
        verdicts = backups.indices.filter { !history.isPruned(backups[$0]) }.map {
            Verdict(backup: backups[$0], reasons: reasons[$0])
        }
    }

    /// Where the named ones are, and the sets that name them.
    private static func places(
        of named: Naming, in backups: [Backup], _ domain: String, _ store: String
    ) throws -> [(index: Int, set: Int64)] {
        let indices = Dictionary(
            backups.indices.map { (backups[$0].sha256, $0) }, uniquingKeysWith: { first, _ in first })
        return try named.items.filter { $0.backup.domain == domain }.map { item in
            guard let index = indices[item.backup.sha256],
                backups[index].generation == item.backup.generation
            else {
                throw Failure(
                    .badData,
                    "generation \(item.set) of the machine needs generation \(item.backup.generation) of \(domain), "
                        + "with the blob \(item.backup.sha256), which is not there", at: store,
                    hint:
                        "the store has lost it, or shows an old copy; nothing of \(domain) goes while that set stays"
                )
            }
            return (index, item.set)
        }
    }

    private static func sound(_ history: History, in store: String) throws -> [Backup] {
        try history.entries.enumerated().map { index, entry in
            let backup = try entry.requireBackup(in: store)
            guard case .backup(_, let previous, let isLinked, let base) = entry.content,
                isLinked, base == nil || base?.index != nil,
                index == 0 || previous == history.entries[index - 1].backup?.generation
            else {
                throw Failure(
                    .badData, "generation \(backup.generation) does not follow what is in front of it",
                    at: store, hint: "escapepod verify names what is missing, damaged or replaced")
            }
            return backup
        }
    }

    private static func require(
        plausible now: Time, after newest: Time, within longest: Int64, in store: String
    ) throws {
        guard now >= newest else {
            throw Failure(
                .badData, "it is \(now.date), but the newest backup is of \(newest.date)", at: store,
                hint: "the clock of this machine is wrong, or was wrong then; correct it, or wait until then")
        }
        guard now.since(newest) <= longest else {
            throw Failure(
                .badData, "it is \(now.date), and the newest backup is of \(newest.date)", at: store,
                hint: "if the clock of this machine is right, make a backup first")
        }
    }

    public var going: [Backup] { verdicts.filter { !$0.stays }.map(\.backup) }

    /// The length in bytes of all that goes.
    public var freed: Int64 { going.reduce(0) { $0 + $1.size } }

    // MARK: How it is said

    /// For people: a line for each backup, and one for all of them.
    public var page: String {
        let lines = verdicts.map { verdict in
            let (backup, reasons) = (verdict.backup, verdict.reasons)
            let why =
                reasons.count > 3 ? reasons.prefix(2) + ["\(reasons.count - 2) more reasons"] : reasons[...]
            return "generation \(backup.generation), \(backup.type.rawValue), \(backup.date), "
                + "\(readable(bytes: UInt64(clamping: backup.size))): "
                + (reasons.isEmpty ? "goes" : "stays: \(why.joined(separator: "; "))")
        }
        let all =
            "\(going.count) of \(count(Int64(verdicts.count), "backup")) go, with \(readable(bytes: UInt64(clamping: freed)))"
        return (lines + [all]).map { "\($0)\n" }.joined()
    }
}
