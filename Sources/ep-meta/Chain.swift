import ArgumentParser
import Catalog
import Plumbing
import Tool

struct Chain: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "chain",
        abstract: "Choose the backups that a restore must read, and print them for a script.",
        usage: """
            ep-meta chain --domain DOMAIN --store URL [--generation N] [--at-least-generation N] \
            [--witness FILE] [--blob SHA256] < HISTORY
            """,
        discussion: """
            The first line has the generation, date and UUID of the wanted backup, the number of backups to read, their \
            size in bytes, the most space in bytes that a restore takes, and yes or no: whether that backup is the newest. \
            A line for each backup follows, the full one first: blob, size in bytes, SHA-512, UUID, and generation.
            """)

    @OptionGroup var subject: Subject

    @Option(help: .init("The wanted backup; default: the newest.", valueName: "n"))
    var generation: Int64?

    @Option(help: .init("Refuse a store whose newest backup is older.", valueName: "n"))
    var atLeastGeneration: Int64?

    @Option(
        help: .init(
            "The document that this machine committed last: without --generation, refuse a store whose newest backup is older.",
            valueName: "file"))
    var witness: String?

    @Option(help: .init("The blob that the wanted backup must have.", valueName: "sha256"))
    var blob: String?

    func validate() throws {
        for number in [generation, atLeastGeneration].compactMap(\.self)
        where !(1...Backup.lastGeneration).contains(number) {
            throw ValidationError("not a generation: \(number)")
        }
    }

    func run() throws {
        let history = try subject.history()
        let known =
            try generation == nil ? committed(witness, of: subject.domain)?.generation : nil
        if let floor = [known, atLeastGeneration].compactMap(\.self).max() {
            try history.requireNewest(atLeast: floor, of: subject.store)
        }
        let chain = try RestoreChain(to: generation, in: history, of: subject.store)
        guard let wanted = chain.backups.last else { return }
        if let witness, generation == nil, atLeastGeneration == nil, known == nil {
            say(
                "\(subject.domain): nothing here can tell whether the store has newer backups than generation "
                    + "\(wanted.generation) of \(wanted.date): no \(printable(witness))")
        }
        guard blob == nil || blob == wanted.sha256 else {
            throw Failure(
                .badData,
                "generation \(wanted.generation) of \(subject.domain) is not the one that was wanted, with the blob \(blob ?? "")",
                at: subject.store, hint: "somebody mixed them up; an earlier generation may be whole")
        }
        try put(
            "\(wanted.generation) \(wanted.date) \(wanted.uuid) \(chain.backups.count) \(chain.size) \(chain.need) "
                + "\(chain.isNewest ? "yes" : "no") \(readable(bytes: UInt64(clamping: chain.size)))")
        for backup in chain.backups {
            try put(
                "\(backup.sha256) \(backup.size) \(backup.sha512) \(backup.uuid) \(backup.generation)")
        }
        if chain.passedOverDamage {
            warn(
                "metadata of newer backups is damaged: \(subject.store)",
                hint: "escapepod verify names it", from: "ep-meta")
            throw ExitCode(ExitStatus.attention.rawValue)
        }
    }
}
