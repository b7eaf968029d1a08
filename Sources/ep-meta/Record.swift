import ArgumentParser
import Catalog
import Glibc
import JSON
import Plumbing
import Sealing
import Tool

struct Record: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "record",
        abstract: "Keep a record of what verify or drill found, or of a backup that failed.",
        subcommands: [VerifyRecord.self, DrillRecord.self, FailureRecord.self])

    func run() throws {
        throw ValidationError("missing subcommand: verify, drill or failure")
    }
}

/// Where this machine keeps what it knows of a store.
struct State: ParsableArguments {
    @Option(help: .init("The folder of this machine's records of the store.", valueName: "dir"))
    var state: String

    func keep(_ line: [UInt8], as name: String) throws {
        let path = "\(state)/\(name)"
        try makeFolders(above: path)
        try AtomicFile.write(line, to: path, mode: 0o600, replacing: true)
    }

    /// The record in the file of that name, if a holder of the key wrote it.
    ///
    /// - Returns: nil where there is no such file.
    /// - Throws: `badData` if it is not such a record.
    func recall(_ name: String, under key: Key) throws -> JSON? {
        let path = "\(state)/\(name)"
        guard exists(path) else { return nil }
        let line = try Descriptor(opening: path, O_RDONLY).readAll(limit: 16 << 20)
        guard let record = try Signed.record(line, accepts: { try key.accepts(mac: $0.hexBytes, of: $1) })
        else {
            throw Failure(
                .badData, "not signed with this key", at: path,
                hint: "somebody changed it, or the key is a different one; move it away")
        }
        return record
    }
}

/// A record that is signed and kept.
struct Signing: ParsableArguments {
    @Option(help: .init("The key file.", valueName: "file"))
    var key: String

    @OptionGroup var state: State

    /// - Returns: the record's line.
    @discardableResult
    func keep(_ record: JSON, as name: String) throws -> [UInt8] {
        let key = try key(from: "ep-meta")
        let line = try Signed.line(record) { try key.mac(of: $0).hex }
        try state.keep(line, as: name)
        return line
    }

    func key(from tool: String) throws -> Key { try KeyFile.read(key) { warn($0, from: tool) } }
}

private func now() -> Time { Time(seconds: Int64(time(nil))) }

struct VerifyRecord: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Sign, keep and print the record of a verify, given its history on standard input.",
        usage: """
            ep-meta record verify --domain DOMAIN --store URL [--witness FILE] --tasks FILE --faults FILE \
            [--sample PERCENT | --pass FILE] --key FILE --state DIR < HISTORY
            """,
        discussion: "Exits with 65 if anything is damaged or missing.")

    @OptionGroup var witnessed: Witnessed

    @Option(help: .init("The file written by ep-meta audit --tasks.", valueName: "file"))
    var tasks: String

    @Option(
        help: .init(
            "Lines of a blob and its problem, in the order in which they were found.", valueName: "file"))
    var faults: String

    @Option(help: .init("The share of the bytes that was verified.", valueName: "percent"))
    var sample: Int?

    @Option(help: .init("The pass that has come to its end; it is removed.", valueName: "file"))
    var pass: String?

    @OptionGroup var signing: Signing

    func run() throws {
        var (history, audit) = try witnessed.audit { _ in }
        let store = witnessed.subject.store
        try Descriptor(opening: faults, O_RDONLY).lines(upTo: 4096) { line, number in
            let words = String(decoding: line.dropLast(), as: UTF8.self).split(separator: " ")
            guard words.count == 2, let problem = Catalog.Audit.Problem(rawValue: String(words[1])) else {
                throw Failure(.badData, "not a blob and its problem", at: "\(faults), line \(number)")
            }
            audit.find(blob: String(words[0]), problem)
        }
        let head = String(
            decoding: try Descriptor(opening: tasks, O_RDONLY).readAll(limit: 1 << 30).prefix {
                $0 != UInt8(ascii: "\n")
            }, as: UTF8.self
        ).split(separator: " ")
        guard head.count == 3, let blobs = Int64(head[1]), let bytes = Int64(head[2]) else {
            throw Failure(.badData, "not written by ep-meta audit", at: tasks)
        }
        let line = try signing.keep(
            StateRecord.verify(
                of: history, store: store, audit: audit, started: String(head[0]), finished: now().date,
                sample: sample, blobs: blobs, bytes: bytes),
            as: sample == nil ? "verified.json" : "verified-sample.json")
        if let pass {
            let entry = try Entry(at: pass)
            guard unlinkat(entry.folder.number, entry.name, 0) == 0 || errno == ENOENT else {
                throw Failure.system("cannot remove", at: pass)
            }
        }
        try Descriptor.standardOutput.write(line)
        guard audit.faults.isEmpty else {
            throw Failure(
                .badData, "\(audit.faults.count) damaged or missing", at: store,
                hint: audit.headIsLost
                    ? "to make the next backup a full one, delete the snapshots in the volume's .escapepod"
                    : "the other generations can be restored, with --generation")
        }
    }
}

struct DrillRecord: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drill",
        abstract: "Sign and keep the record of a drill, and print its result for people.",
        usage: """
            ep-meta record drill --domain DOMAIN --store URL [--generation N] [--uuid UUID] --started DATE \
            --seconds N --result proven|differs|failed [--likeness FILE] --key FILE --state DIR
            """)

    @OptionGroup var subject: Subject

    @Option(help: .init("The backup that was restored.", valueName: "n"))
    var generation: Int64?

    @Option(help: "The UUID of the snapshot.")
    var uuid = ""

    @Option(help: .init("When it began, such as 2026-11-23T06:10:00Z.", valueName: "date"))
    var started: String

    @Option(help: .init("How long it took, in seconds.", valueName: "n"))
    var seconds: Int64

    @Option(help: .init("Its result.", valueName: "word"))
    var result: Result

    enum Result: String, ExpressibleByArgument, CaseIterable { case proven, differs, failed }

    @Option(
        help: .init("What ep-snap compare --report or ep-layout boot wrote, if it did.", valueName: "file"))
    var likeness: String?

    @OptionGroup var signing: Signing

    func run() throws {
        try require(domain: subject.domain)
        let finished = now().date
        let record = StateRecord.drill(
            domain: subject.domain, store: subject.store, generation: generation, uuid: uuid,
            started: started,
            finished: finished, seconds: seconds, result: result.rawValue,
            likeness: try likeness.flatMap(found))
        try signing.keep(record, as: "drill-\(finished.filter { $0 != "-" && $0 != ":" }).json")
        try put(StateRecord.summary(ofDrill: record))
    }

    /// Nothing where the tool that was to write it failed.
    private func found(_ likeness: String) throws -> JSON? {
        guard exists(likeness) else { return nil }
        let bytes = try Descriptor(opening: likeness, O_RDONLY).readAll(limit: 2 << 20)
        return bytes.isEmpty ? nil : try JSON(parsing: bytes, at: likeness)
    }
}

struct FailureRecord: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "failure", abstract: "Keep the record of a failed backup.",
        usage: "ep-meta record failure --domain DOMAIN --store URL --status N --what TEXT --state DIR")

    @OptionGroup var subject: Subject

    @Option(help: .init("The exit status of the backup.", valueName: "n"))
    var status: Int32

    @Option(help: .init("What failed.", valueName: "text"))
    var what: String

    @OptionGroup var state: State

    func run() throws {
        try require(domain: subject.domain)
        let record = StateRecord.failure(
            domain: subject.domain, store: subject.store, finished: now().date,
            // Of a tool that is none of ours: what a run that it ends will end in.
            status: status == 1 ? ExitStatus.io.rawValue : status, what: what)
        try state.keep(record.line, as: "failed.json")
    }
}
