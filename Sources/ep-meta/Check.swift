import ArgumentParser
import Catalog
import Plumbing
import Tool

struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Check one document, or a chain of them, one per line, oldest first.",
        usage: "ep-meta check [--domain DOMAIN] < METADATA")

    @Option(help: "The domain that every document must have.")
    var domain: String?

    func run() throws {
        if let domain { try require(domain: domain) }
        var chain = Catalog.Chain(domain: domain)
        let input = Descriptor.standardInput
        let count = try input.lines(upTo: Document.maximumLength + 1) { line, number in
            let place = "\(input.name), line \(number)"
            try chain.append(Document(parsing: line, at: place), at: place)
        }
        guard count > 0 else {
            throw Failure(
                .badData, "empty input", at: input.name,
                hint: "the previous stage may have failed; see its message")
        }
    }
}
