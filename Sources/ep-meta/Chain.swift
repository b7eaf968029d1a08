import ArgumentParser
import Catalog
import Plumbing
import Tool

struct Chain: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Choose the backups that a restore reads, and print them for a script.",
        usage: """
            ep-meta chain --domain DOMAIN --store URL [--generation N] [--at-least-generation N] \
            [--witness FILE] < HISTORY
            """,
        discussion: """
            The first line has the wanted backup's generation, date and UUID, how many backups there are to read, of how \
            many bytes, how many bytes of room that takes at most, and yes or no: whether it is the newest. Then a line \
            for each, the full one first: blob, bytes, SHA-512, UUID, generation.
            """)

    @OptionGroup var subject: Subject

    @Option(help: .init("The wanted backup, in place of the newest.", valueName: "n"))
    var generation: Int64?

    @Option(help: .init("Refuse a store whose newest backup is older than that.", valueName: "n"))
    var atLeastGeneration: Int64?

    @Option(
        help: .init(
            "The document that this machine committed last; no file: none. The newest is no older.",
            valueName: "file"))
    var witness: String?

    func validate() throws {
        for number in [generation, atLeastGeneration].compactMap(\.self)
        where !(1...Backup.lastGeneration).contains(number) {
            throw ValidationError("no generation: \(number)")
        }
    }

    func run() throws {
        let history = try subject.history()
        let known = try committed(witness, of: subject.domain)?.generation
        if let floor = [known, atLeastGeneration].compactMap(\.self).max() {
            try history.requireNewest(atLeast: floor, of: subject.store)
        }
        let chain = try RestoreChain(to: generation, in: history, of: subject.store)
        guard let wanted = chain.backups.last else { return }
        try put(
            "\(wanted.generation) \(wanted.date) \(wanted.uuid) \(chain.backups.count) \(chain.size) \(chain.need) "
                + "\(chain.isNewest ? "yes" : "no") \(readable(bytes: UInt64(clamping: chain.size)))")
        for backup in chain.backups {
            try put("\(backup.sha256) \(backup.size) \(backup.sha512) \(backup.uuid) \(backup.generation)")
        }
        if chain.passedOverDamage {
            warn(
                "metadata of newer backups is damaged: \(subject.store)",
                hint: "escapepod verify says which, and what else is", from: "ep-meta")
            throw ExitCode(ExitStatus.attention.rawValue)
        }
    }
}
