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
        abstract: "Decide whether the next backup is full or incremental.",
        usage: "ep-plan --domain DOMAIN --snapshots FILE [--format json|sh] < METADATA",
        discussion: "Reads the store's newest metadata document; an empty input says that there is none.",
        version: version)

    enum Format: String, ExpressibleByArgument, CaseIterable {
        case json
        case sh
    }

    @Option(help: .init("The system that is backed up.", valueName: "domain"))
    var domain: String

    @Option(help: .init("The snapshots that are here: what ep-snap list --json printed.", valueName: "file"))
    var snapshots: String

    @Option(help: .init("One line of JSON, or assignments for a shell to eval.", valueName: "json|sh"))
    var format = Format.json

    func run() throws {
        try require(domain: domain)
        let plan = try Plan(domain: domain, head: head(), snapshots: list())
        switch format {
        case .json: try Descriptor.standardOutput.write(plan.json.line)
        case .sh: try Descriptor.standardOutput.write(Array(plan.shell.utf8))
        }
    }

    private func head() throws -> Document? {
        let input = Descriptor.standardInput
        let bytes = try input.readAll(limit: Document.maximumLength + 1)
        return bytes.isEmpty ? nil : try Document(parsing: bytes, at: input.name)
    }

    private func list() throws -> [Snapshot] {
        let file = try Descriptor(opening: snapshots, O_RDONLY)
        guard case .array(let records) = try JSON(parsing: file.readAll(limit: 1 << 20), at: snapshots) else {
            throw Failure(.badData, "no JSON array", at: snapshots, hint: "ep-snap list --json prints one")
        }
        return try records.enumerated().map { try Snapshot($1, at: "\(snapshots), snapshot \($0 + 1)") }
    }
}
