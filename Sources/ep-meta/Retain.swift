import ArgumentParser
import Catalog
import Glibc
import JSON
import Plumbing
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

struct Retain: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "retain",
        abstract: "Decide which backups stay under a policy, and print which go, and why the others stay.",
        usage: """
            ep-meta retain --domain DOMAIN --store URL [--keep PERIODS] [--keep-last N] [--minimum-age AGE] \
            [--named FILE | --by-sets FILE] [--now SECONDS] [--undo FILE] [--record FILE] [--blobs FILE] < HISTORY
            """,
        discussion: """
            PERIODS are words such as 24h, 14d, 10w, 12m, 3y: of each of the last 24 hours, 14 days, 10 weeks, 12 months and 3 \
            years that have a backup, the first one stays.
            """)

    @OptionGroup var subject: Subject

    @Option(help: .init("Of so many hours, days, weeks, months, years, the first one.", valueName: "periods"))
    var keep: Periods?

    @Option(help: .init("So many of the newest.", valueName: "n"))
    var keepLast = 0

    @Option(help: .init("Nothing that is younger goes; default: 7d.", valueName: "age"))
    var minimumAge: Delay?

    @Option(help: .init("The time, in seconds since 1970.", valueName: "seconds"))
    var now = Int64(time(nil))

    @Option(
        help: .init(
            "Instead, find what was pruned and is still there, as ep-fetch blobs prints it into this file.",
            valueName: "file"))
    var undo: String?

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
        guard keepLast >= 0 else { throw ValidationError("--keep-last is a number, not \(keepLast)") }
    }

    func run() throws {
        let history = try subject.history()
        try undo.map { try recover(in: history, from: $0) } ?? prune(history)
    }

    private func prune(_ history: History) throws {
        let minimum = minimumAge ?? Delay(days: 7)
        let rules = try Retention.Rules(
            periods: keep?.periods ?? [], last: keepLast, minimumAge: minimum.seconds,
            named: bySets.map { try Naming(from: Descriptor(opening: $0, O_RDONLY)) })
        let retention = try Retention(
            of: history, under: rules, at: Time(seconds: now), in: subject.store)
        let words = [
            keep.map { "keep \($0)" }, keepLast > 0 ? "keep-last \(keepLast)" : nil,
            "minimum-age \(minimum)",
        ]
        let policy =
            (bySets == nil ? "" : "what sets name that stay by ")
            + words.compactMap(\.self).joined(separator: ", ")
        try write(naming: retention.verdicts.filter(\.stays).map(\.backup), in: history)
        let going = retention.going
        // A run before this one may have died between its record and its blobs.
        try files.write(
            Pruning(
                domain: history.domain, at: Time(seconds: now), policy: policy,
                pruned: going.map(Pruning.Item.init)),
            blobs: history.pruned.keys.sorted() + going.map(\.sha256))
        try Descriptor.standardOutput.write(Array(retention.page.utf8))
    }

    private func write(naming sets: [Backup], in history: Catalog.History) throws {
        guard let path = named else { return }
        let naming = try Naming(of: sets, in: history, of: subject.store)
        try AtomicFile.write(Array(naming.text.utf8), to: path, mode: 0o600, replacing: true)
    }

    private func recover(in history: History, from path: String) throws {
        var there: Set<String> = []
        try Descriptor(opening: path, O_RDONLY).lines(upTo: 4096) { line, _ in
            there.insert(String(decoding: line.prefix(64), as: UTF8.self))
        }
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
