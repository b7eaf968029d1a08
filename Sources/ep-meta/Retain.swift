import ArgumentParser
import Catalog
import Glibc
import JSON
import Plumbing
import StoreFormat
import Tool

/// What a pruning leaves for the tools behind it.
struct PruningFiles: ParsableArguments {
    @Option(
        help: .init(
            "Write the record of it to this file, for ep-seal --kind pruning; empty if nothing changes.",
            valueName: "file"))
    var record: String?

    @Option(
        help: .init(
            "Write the blobs to this file, one a line, for ep-store discard or recover.", valueName: "file"))
    var blobs: String?

    func write(_ pruning: Pruning, blobs: some Sequence<String>) throws {
        if let path = record {
            try AtomicFile.write(
                pruning.isEmpty ? [] : pruning.json.line, to: path, mode: 0o600, replacing: true)
        }
        if let path = self.blobs {
            let lines = blobs.map { "\($0)\n" }.joined()
            try AtomicFile.write(Array(lines.utf8), to: path, mode: 0o600, replacing: true)
        }
    }
}

/// Which backups stay.
struct RetentionRules: ParsableArguments {
    @Option(help: .init("Of so many hours, days, weeks, months, years, the first one.", valueName: "periods"))
    var keep: Periods?

    @Option(help: .init("So many of the newest.", valueName: "n"))
    var keepLast = 0

    @Option(help: .init("Nothing that is younger goes; default: 7d.", valueName: "age"))
    var minimumAge: Delay?

    @Option(
        help: .init(
            "The output of ep-fetch blobs: what the store keeps for now stays, and old blobs that no backup names go.",
            valueName: "file"))
    var there: String?

    func validate() throws {
        guard keepLast >= 0 else { throw ValidationError("--keep-last is a number, not \(keepLast)") }
    }

    var minimum: Delay { minimumAge ?? Delay(days: 7) }

    /// What is in the file `there`; nothing without one.
    func blobs() throws -> [BlobEntry] {
        guard let path = there else { return [] }
        return try BlobEntry.parse(
            Descriptor(opening: path, O_RDONLY).readAll(limit: 100 * StoreLimits.history), at: path)
    }

    func rules(holding there: [BlobEntry], named: Naming? = nil) -> Retention.Rules {
        .init(
            periods: keep?.periods ?? [], last: keepLast, minimumAge: minimum.seconds,
            held: Set(there.filter { $0.state == .held }.map(\.address.hex)), named: named)
    }

    /// As a record of a pruning has them.
    var text: String {
        let words = [
            keep.map { "keep \($0)" }, keepLast > 0 ? "keep-last \(keepLast)" : nil, "minimum-age \(minimum)",
        ]
        return words.compactMap(\.self).joined(separator: ", ")
    }
}

struct Retain: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "retain",
        abstract: "Decide which backups stay under a policy, and print which go, and why the others stay.",
        usage: """
            ep-meta retain --domain DOMAIN --store URL [--keep PERIODS] [--keep-last N] [--minimum-age AGE] \
            [--named FILE | --by-sets FILE] [--now SECONDS] [--witness FILE] [--there FILE] [--undo] \
            [--record FILE] [--blobs FILE] < HISTORY
            """,
        discussion: """
            PERIODS are words such as 24h, 14d, 10w, 12m, 3y: of each of the last 24 hours, 14 days, 10 weeks, 12 months and 3 \
            years that have a backup, the first one stays.
            """)

    @OptionGroup var witnessed: Witnessed

    @OptionGroup var rules: RetentionRules

    @Option(help: .init("The time, in seconds since 1970.", valueName: "seconds"))
    var now = Int64(time(nil))

    @Flag(help: "Instead, find what was pruned and, by --there, is still there.")
    var undo = false

    @Option(
        help: .init(
            "Write to this file what those that stay name of a machine's members; with --undo, what any of them names.",
            valueName: "file"))
    var named: String?

    @Option(
        help: .init(
            "Of a member, keep what that file names, whatever --keep and --keep-last say.", valueName: "file")
    )
    var bySets: String?

    @OptionGroup var files: PruningFiles

    func validate() throws {
        guard !undo || rules.there != nil else { throw ValidationError("--undo needs --there") }
    }

    func run() throws {
        let there = try rules.blobs()
        let history = try witnessed.history()
        try undo ? recover(in: history, from: there) : prune(history, of: there)
    }

    private func prune(_ history: Catalog.History, of there: [BlobEntry]) throws {
        let naming = try bySets.map { try Naming(from: Descriptor(opening: $0, O_RDONLY)) }
        let retention = try Retention(
            of: history, under: rules.rules(holding: there, named: naming), at: Time(seconds: now),
            in: witnessed.subject.store)
        try write(naming: retention.verdicts.filter(\.stays).map(\.backup), in: history)
        let going = retention.going
        let strays = strays(among: there, of: history, olderThan: rules.minimum.seconds)
        // A run before this one may have died between its record and its blobs.
        try files.write(
            Pruning(
                domain: history.domain, at: Time(seconds: now),
                policy: (bySets == nil ? "" : "what sets name that stay by ") + rules.text,
                pruned: going.map(Pruning.Item.init)),
            blobs: history.pruned.keys.sorted() + going.map(\.sha256) + strays.map(\.address.hex))
        try Descriptor.standardOutput.write(Array(retention.page.utf8))
        guard !strays.isEmpty else { return }
        let size = readable(bytes: strays.reduce(0) { $0.addingClamped($1.size) })
        try put("also \(count(Int64(strays.count), "blob")), \(size), of runs that were never committed")
    }

    /// What no backup names, and no run that is under way: that one has stored it within a day.
    private func strays(among there: [BlobEntry], of history: Catalog.History, olderThan age: Int64)
        -> [BlobEntry]
    {
        let named = Set(history.entries.map(\.blob))
        return there.filter {
            $0.state == .stored && $0.age >= max(age, 86400) && !named.contains($0.address.hex)
        }
    }

    private func write(naming sets: [Backup], in history: Catalog.History) throws {
        guard let path = named else { return }
        let naming = try Naming(of: sets, in: history, of: witnessed.subject.store)
        try AtomicFile.write(Array(naming.text.utf8), to: path, mode: 0o600, replacing: true)
    }

    private func recover(in history: Catalog.History, from entries: [BlobEntry]) throws {
        let there = Set(entries.map(\.address.hex))
        let back = history.entries.compactMap(\.backup).filter {
            history.isPruned($0) && there.contains($0.sha256)
        }
        // What a member has in the trash comes back, whatever becomes of the set.
        try write(naming: history.entries.filter { $0.members != nil }.compactMap(\.backup), in: history)
        try files.write(
            Pruning(
                domain: history.domain, at: Time(seconds: now), policy: "undo",
                recovered: back.map(Pruning.Item.init)),
            blobs: back.map(\.sha256))
        let size = readable(bytes: UInt64(clamping: back.reduce(0) { $0 + $1.size }))
        try put(
            "\(back.count) pruned backups are still there, \(size); \(history.pruned.count - back.count) are gone"
        )
    }
}

/// Words such as `14d 10w`.
struct Periods: ExpressibleByArgument, CustomStringConvertible {
    let periods: [Retention.Periods]
    let description: String

    init?(argument: String) {
        let words = argument.split(separator: " ")
        periods = words.compactMap { Retention.Periods($0) }
        guard !words.isEmpty, periods.count == words.count else { return nil }
        description = words.joined(separator: " ")
    }
}
