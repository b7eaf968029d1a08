import ArgumentParser
import Catalog
import Glibc
import JSON
import Plumbing
import Tool

@main
struct Meta: Tool {
    static let configuration = CommandConfiguration(
        commandName: "ep-meta",
        abstract: "Create, show and check metadata documents and histories, and keep records of a store.",
        version: version,
        subcommands: [
            Create.self, Show.self, Check.self, MemberLine.self, List.self, Chain.self, Audit.self,
            Fault.self, Record.self, Retain.self,
            Status.self, Keep.self, Printable.self, LockFile.self, WorkFolder.self, Piped.self,
        ])
}

/// The record in a file.
func record(_ path: String) throws -> JSON {
    try JSON(parsing: Descriptor(opening: path, O_RDONLY).readAll(limit: 2 << 20), at: path)
}

/// The document that this machine committed last; nil where there is no such file.
///
/// - Throws: `badData` where it is damaged, or of another domain.
func committed(_ witness: String?, of domain: String) throws -> Backup? {
    guard let witness, exists(witness) else { return nil }
    do {
        let file = try Descriptor(opening: witness, O_RDONLY)
        let document = try Document(parsing: file.readAll(limit: Document.maximumLength + 1), at: witness)
        let backup = document.metadata.backup
        guard backup.domain == domain else {
            throw Failure(.badData, "it belongs to \(backup.domain), not to \(domain)", at: witness)
        }
        return backup
    } catch let failure as Failure where failure.status == .badData {
        say(failure.message(from: "ep-meta"))
        throw Failure(
            .badData, "the witness is damaged", at: witness,
            hint: "move it away if you know why; a restore with --generation does not need it")
    }
}
