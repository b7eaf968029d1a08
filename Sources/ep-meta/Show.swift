import ArgumentParser
import Catalog
import Plumbing
import Tool

struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Print a document for people, or for a script.",
        usage: "ep-meta show [--format text|line] [--domain DOMAIN] < METADATA",
        discussion:
            "The line has generation, type, date, size, blob, UUID and domain, and the size for people, with a space between each."
    )

    enum Format: String, ExpressibleByArgument, CaseIterable {
        case text
        case line
    }

    @Option(help: .init("Text for people, or one line for a script.", valueName: "text|line"))
    var format = Format.text

    @Option(help: "The domain that the document must have.")
    var domain: String?

    func run() throws {
        let input = Descriptor.standardInput
        let metadata = try Document(
            parsing: input.readAll(limit: Document.maximumLength + 1), at: input.name
        ).metadata
        let found = metadata.backup.domain
        if let domain, found != domain {
            throw Failure(
                .badData, "the metadata of \(found) instead of \(domain)", at: input.name,
                hint: "it was mixed up or tampered with in the store")
        }
        try Descriptor.standardOutput.write(Array((format == .line ? metadata.line : metadata.page).utf8))
    }
}
