import ArgumentParser
import Catalog
import JSON
import Plumbing
import Tool

struct MemberLine: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "member",
        abstract: "Print the line that a capsule has for the backup of a member.",
        usage: "ep-meta member --label LABEL --folder NAME < METADATA")

    @Option(help: .init("What the configuration calls the member.", valueName: "label"))
    var label: String

    @Option(help: .init("The name of the folder of its slots.", valueName: "name"))
    var folder: String

    func run() throws {
        let input = Descriptor.standardInput
        let document = try Document(
            parsing: input.readAll(limit: Document.maximumLength + 1), at: input.name)
        let backup = document.metadata.backup
        let line: JSON = [
            "label": .string(label), "domain": .string(backup.domain),
            "generation": .integer(backup.generation),
            "uuid": .string(backup.uuid), "date": .string(backup.date), "sha256": .string(backup.sha256),
            "metadataSha512": .string(document.sha512), "folder": .string(folder),
        ]
        try Descriptor.standardOutput.write(line.line)
    }
}
