import ArgumentParser
import Catalog
import Glibc
import Plumbing
import Tool

/// What the store has for whoever finds it.
struct Companions: ParsableArguments {
    @Option(
        help: .init(
            "Names of files in the store that are not the installed ones, as ep-fetch differing prints them.",
            valueName: "file"))
    var differing: String?

    /// - Returns: what needs attention, which people are told here.
    func warnings(in store: String) throws -> [String] {
        guard let differing else { return [] }
        var warnings: [String] = []
        try Descriptor(opening: differing, O_RDONLY).lines(upTo: 4096) { line, _ in
            warnings.append("not the installed version: \(printable(Array(line.dropLast()))) in \(store)")
        }
        for warning in warnings {
            warn(
                warning,
                hint: """
                    somebody changed it, or it is from another version; ep-store key --with replaces it, see ep-store(1)
                    """,
                from: "ep-meta")
        }
        return warnings
    }
}

/// What an audit is held against.
struct Witnessed: ParsableArguments {
    @OptionGroup var subject: Subject

    @Option(
        help: .init(
            "The document that this machine committed last; the file need not exist.", valueName: "file"))
    var witness: String?

    /// The history, if it has what this machine committed.
    ///
    /// - Throws: `badData` where it has not.
    func history() throws -> History {
        let history = try subject.history()
        guard let backup = try committed(witness, of: subject.domain),
            !history.entries.contains(where: { $0.backup == backup })
        else { return history }
        throw Failure(
            .badData, "generation \(backup.generation), which this machine committed, is not there",
            at: subject.store,
            hint: "the store is an old copy, or somebody changed it: escapepod status says more")
    }

    /// - Parameter complain: is told what is wrong with a document.
    func audit(complain: (Failure) -> Void = Subject.complain) throws -> (History, Catalog.Audit) {
        let history = try subject.history(complain: complain)
        return (history, Catalog.Audit(of: history, witness: try committed(witness, of: subject.domain)))
    }
}

struct Audit: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "audit",
        abstract: "Find missing and damaged documents, and choose the blobs to verify.",
        usage: """
            ep-meta audit --domain DOMAIN --store URL [--witness FILE] [--differing FILE] \
            [--sample PERCENT | --pass FILE] --tasks FILE < HISTORY
            """,
        discussion: """
            The first line of the tasks has the time at which the pass began, and the number of blobs and bytes that it \
            covers. A line for each blob that is still to be verified follows: blob, the number of bytes before it, and, if \
            its document can be read, --size and --sha512 as ep-fetch blob takes them.
            """)

    @OptionGroup var witnessed: Witnessed

    @OptionGroup var companions: Companions

    @Option(
        help: .init(
            "Choose blobs at random until they make up that share of the bytes.", valueName: "percent"))
    var sample: Int64?

    @Option(
        help: .init(
            "When the pass began, and the blobs that it has verified; created if it does not exist.",
            valueName: "file"))
    var pass: String?

    @Option(help: .init("The file that gets the blobs to verify.", valueName: "file"))
    var tasks: String

    func validate() throws {
        if let sample, !(1...100).contains(sample) {
            throw ValidationError("--sample must be 1 to 100, not \(sample)")
        }
    }

    func run() throws {
        let (history, audit) = try witnessed.audit()
        let needsAttention = try !companions.warnings(in: witnessed.subject.store).isEmpty
        let (domain, store) = (history.domain, witnessed.subject.store)
        let entries = history.entries.filter { history.pruned[$0.blob] == nil }
        let total = bytes(of: entries)
        // Otherwise every single one would be reported as damaged.
        guard total > 0 else {
            throw Failure(
                .badData, "no metadata of \(domain) can be opened", at: store,
                hint: "check that the key belongs to this store")
        }
        let gone = history.entries.count - entries.count
        try put(
            "\(domain) in \(printable(store)): \(history.entries.count) backups, \(size(total))"
                + (gone > 0 ? "; \(gone) were pruned" : ""))
        let chosen = choose(from: entries, total)
        if sample != nil { try put("  a sample of \(chosen.count) of them, \(size(bytes(of: chosen)))") }
        let (started, verified) = try passed()
        if let started {
            try put(
                "  continues the pass of \(started), which has verified \(verified.count) of \(entries.count)"
            )
        }
        for line in audit.lines { try put("  \(line)") }

        let start = started ?? Time(seconds: Int64(time(nil))).date
        var (text, past) = ("\(start) \(chosen.count) \(bytes(of: chosen))\n", Int64(0))
        for entry in chosen {
            if !verified.contains(entry.blob) {
                let known = entry.backup.map { " --size \($0.size) --sha512 \($0.sha512)" } ?? ""
                text += "\(entry.blob) \(past)\(known)\n"
            }
            past += entry.backup?.size ?? 0
        }
        try AtomicFile.write(Array(text.utf8), to: tasks, mode: 0o600, replacing: true)
        if let pass, started == nil {
            try AtomicFile.write(Array("\(start)\n".utf8), to: pass, mode: 0o600, replacing: true)
        }
        if needsAttention { throw ExitCode(ExitStatus.attention.rawValue) }
    }

    private func size(_ bytes: Int64) -> String { readable(bytes: UInt64(clamping: bytes)) }

    private func bytes(of entries: [History.Entry]) -> Int64 {
        entries.reduce(0) { $0 + ($1.backup?.size ?? 0) }
    }

    /// All of them, or at random until they make that share of the bytes; oldest first.
    private func choose(from entries: [History.Entry], _ total: Int64) -> [History.Entry] {
        guard let sample else { return entries }
        var (wanted, chosen) = (Int64(0), Set<Int>())
        for index in entries.indices.shuffled() {
            chosen.insert(index)
            wanted += entries[index].backup?.size ?? 0
            if wanted.multipliedReportingOverflow(by: 100).partialValue >= total * sample { break }
        }
        return chosen.sorted().map { entries[$0] }
    }

    /// When the pass began, and the blobs that it has verified; nil for a new one.
    private func passed() throws -> (String?, Set<String>) {
        guard let pass, exists(pass) else { return (nil, []) }
        let file = try Descriptor(opening: pass, O_RDONLY)
        var (started, verified): (String?, Set<String>) = (nil, [])
        try file.lines(upTo: 4096) { line, number in
            let text = String(decoding: line.dropLast(), as: UTF8.self)
            if number == 1 {
                started = Time(text)?.date
            } else if line.last == UInt8(ascii: "\n"), text.isHex(bytes: 32) {
                verified.insert(text)
            }
        }
        return started == nil ? (nil, []) : (started, verified)
    }
}

struct Fault: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fault",
        abstract: "Judge a blob that could not be read or opened, and print what that takes down.",
        usage: """
            ep-meta fault --domain DOMAIN --store URL --fetched STATUS --opened STATUS --faults FILE BLOB < HISTORY
            """,
        discussion: "Where it was no fault of the blob, ends in the status of the tool that failed.")

    @OptionGroup var subject: Subject

    @Option(help: .init("What ep-fetch blob ended in.", valueName: "status"))
    var fetched: Int32

    @Option(help: .init("What ep-unseal --check behind it ended in.", valueName: "status"))
    var opened: Int32

    @Option(help: .init("The file that the blob and its problem are added to, as a line.", valueName: "file"))
    var faults: String

    @Argument(help: "The blob: a SHA-256.")
    var blob: String

    func run() throws {
        let problem = try Catalog.Audit.Problem(fetched: fetched, opened: opened)
        // The caller has been told about the documents before.
        let history = try subject.history { _ in }
        var audit = Catalog.Audit(of: history, witness: nil)
        let before = audit.lines.count
        audit.find(blob: blob, problem)
        try Descriptor(opening: faults, O_WRONLY | O_APPEND | O_CREAT, mode: 0o600).write(
            Array("\(blob) \(problem)\n".utf8))
        for line in audit.lines.dropFirst(before) { try put("  \(line)") }
    }
}

extension Catalog.Audit.Problem {
    /// What is wrong with a blob, by the statuses of the two tools that have read it.
    ///
    /// - Throws: the status of the tool that failed, which has said why, where it was not the blob's fault.
    fileprivate init(fetched: Int32, opened: Int32) throws {
        switch (ExitStatus(rawValue: fetched), ExitStatus(rawValue: opened)) {
        case (.notFound, _): self = .missing
        case (.badData, _): self = .damaged
        case (.io, _): self = .unreadable
        case (.done, .badData): self = .forged
        case (.done, _): throw ExitCode(opened)
        default: throw ExitCode(fetched)
        }
    }
}
