import ArgumentParser
import Catalog
import Glibc
import JSON
import Plumbing
import Tool

@main
struct PlanTool: Tool {
    static let configuration = CommandConfiguration(
        commandName: "ep-plan",
        abstract: "Decide whether the next backup is full or incremental, and what it builds on.",
        usage: """
            ep-plan --domain DOMAIN --snapshots FILE [--witness FILE] [--history] \
            [--full-every AGE] [--differential-every AGE] [--now SECONDS] \
            [--format json|lines] [--record FILE] < METADATA
            """,
        discussion: """
            Reads the store's newest metadata document, or a history; empty input means that the store has no backup. The \
            three lines: type, generation, blob of the head, its type, slot of the parent; the reason; the warning, or \
            nothing.
            """,
        version: version)

    enum Format: String, ExpressibleByArgument, CaseIterable {
        case json
        case lines
    }

    @Option(help: .init("The system that is backed up.", valueName: "domain"))
    var domain: String

    @Option(
        help: .init("The snapshots on this machine, as printed by ep-snap list --json.", valueName: "file"))
    var snapshots: String

    @Option(
        help: .init(
            "The document that this machine committed last; the file need not exist.", valueName: "file"))
    var witness: String?

    @Flag(help: "Standard input is a history: the output of ep-fetch history, opened by ep-unseal.")
    var history = false

    @OptionGroup var ages: ChainAges

    @Option(help: .init("The time, in seconds since 1970.", valueName: "seconds"))
    var now = Int64(time(nil))

    @Option(help: .init("One line of JSON, or three for a script.", valueName: "json|lines"))
    var format = Format.json

    @Option(help: .init("Also write the JSON to this file.", valueName: "file"))
    var record: String?

    func run() throws {
        try require(domain: domain)
        let (snapshots, stubs) = try list()
        let policy = Policy(
            fullEvery: (ages.fullEvery ?? .every(weeks: 24)).seconds,
            differentialEvery: (ages.differentialEvery ?? .every(weeks: 4)).seconds)
        let plan = try Plan(
            on: lineage(), snapshots: snapshots, stubs: stubs, policy: policy, at: Time(seconds: now))
        if let record { try AtomicFile.write(plan.json.line, to: record, mode: 0o600, replacing: true) }
        try Descriptor.standardOutput.write(format == .json ? plan.json.line : Array(plan.lines.utf8))
    }

    private func lineage() throws -> Lineage {
        var lineage = try Lineage(of: domain, witness: committed())
        let input = Descriptor.standardInput
        guard !history else {
            try lineage.append(input)
            return lineage
        }
        try input.lines(upTo: Document.maximumLength + 1) { line, number in
            let place = "\(input.name), line \(number)"
            try lineage.append(Document(parsing: line, at: place), at: place)
        }
        return lineage
    }

    private func committed() throws -> Document? {
        guard let witness, exists(witness) else { return nil }
        let file = try Descriptor(opening: witness, O_RDONLY)
        return try Document(parsing: file.readAll(limit: Document.maximumLength + 1), at: witness)
    }

    private func list() throws -> ([Snapshot], [Stub]) {
        let file = try Descriptor(opening: snapshots, O_RDONLY)
        guard case .array(let records) = try JSON(parsing: file.readAll(limit: 1 << 20), at: snapshots) else {
            throw Failure(.badData, "not a JSON array", at: snapshots, hint: "ep-snap list --json prints one")
        }
        var (found, stubs) = ([Snapshot](), [Stub]())
        for (index, record) in records.enumerated() {
            let place = "\(snapshots), snapshot \(index + 1)"
            if let stub = try Stub(record, at: place) {
                stubs.append(stub)
            } else {
                found.append(try Snapshot(record, at: place))
            }
        }
        return (found, stubs)
    }
}
