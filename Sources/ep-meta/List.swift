import ArgumentParser
import Catalog
import Plumbing
import Tool

/// Where the backups are whose history is on standard input.
struct Subject: ParsableArguments {
    @Option(help: "The system that is backed up.")
    var domain: String

    @Option(help: .init("The store's URL, for messages and records.", valueName: "url"))
    var store: String

    /// The history on standard input.
    ///
    /// - Parameter complain: is told what is wrong with a document.
    func history(complain: (Failure) -> Void = complain) throws -> History {
        try require(domain: domain)
        return try History(of: domain, from: .standardInput, complain: complain)
    }

    /// On standard error.
    static func complain(_ failure: Failure) { say(failure.message(from: "ep-meta")) }
}

struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "Print a line for each backup of a history.",
        usage: "ep-meta list --domain DOMAIN --store URL < HISTORY")

    @OptionGroup var subject: Subject

    func run() throws {
        let history = try subject.history()
        try Descriptor.standardOutput.write(Array(history.table.utf8))
        for entry in history.entries { _ = try entry.requireBackup(in: subject.store) }
    }
}
