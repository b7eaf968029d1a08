import ArgumentParser
import Catalog
import Plumbing
import Tool

struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print a document for people, or for a script.",
        usage: "ep-meta show [--format text|line] < METADATA",
        discussion:
            "The line has generation, type, date, size, blob, UUID and domain, and the size for people, with a space between each."
    )

    enum Format: String, ExpressibleByArgument, CaseIterable {
        case text
        case line
    }

    @Option(help: .init("Text for people, or one line for a script.", valueName: "text|line"))
    var format = Format.text

    func run() throws {
        let input = Descriptor.standardInput
        let metadata = try Document(
            parsing: input.readAll(limit: Document.maximumLength + 1), at: input.name
        ).metadata
        try Descriptor.standardOutput.write(Array((format == .line ? metadata.line : metadata.page).utf8))
    }
}
