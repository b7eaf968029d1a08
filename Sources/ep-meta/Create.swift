import ArgumentParser
import Catalog
import Glibc
import JSON
import Plumbing
import Tool

struct Create: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create",
        abstract: "Print the document of a backup whose blob is in the store.",
        usage: """
            ep-meta create --domain DOMAIN --plan FILE --snapshot FILE --report FILE \
            --receipt FILE [--members FILE] [--btrfs-progs VERSION] [--line FILE]
            """)

    @Option(help: "The system that is backed up.")
    var domain: String

    @Option(help: .init("The output of ep-plan.", valueName: "file"))
    var plan: String

    @Option(help: .init("The output of ep-snap create --json.", valueName: "file"))
    var snapshot: String

    @Option(help: .init("The file written by ep-seal --report.", valueName: "file"))
    var report: String

    @Option(help: .init("The output of ep-store blob.", valueName: "file"))
    var receipt: String

    @Option(
        help: .init(
            "For a machine's own backup: the lines that ep-meta member printed of those that belong to it.",
            valueName: "file"))
    var members: String?

    @Option(
        help: .init(
            "The version of the btrfs command that sent the snapshot; default: that of the one here.",
            valueName: "version"))
    var btrfsProgs: String?

    @Option(
        help: .init("Also write the line of ep-meta show --format line to this file.", valueName: "file"))
    var line: String?

    func run() throws {
        try require(domain: domain)
        let report = try Report(record(report), at: report)
        let made = try Document.create(
            domain: domain,
            plan: Plan(record(plan), at: plan),
            snapshot: Snapshot(record(snapshot), at: snapshot),
            report: report,
            receipt: Receipt(record(receipt), at: receipt),
            producer: Producer(
                escapepod: version, kernel: kernelRelease(),
                btrfsProgs: btrfsProgs ?? btrfsProgsVersion(),
                sendProtocol: report.sendProtocol),
            members: members.map { try NamedBackup.lines(of: Descriptor(opening: $0, O_RDONLY)) })
        if let line {
            let shown = Array(made.document.metadata.line.utf8)
            try Descriptor(opening: line, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600).write(shown)
        }
        try Descriptor.standardOutput.write(made.line)
    }

    private func kernelRelease() throws -> String {
        var names = utsname()
        guard uname(&names) == 0 else { throw Failure.system("cannot get the kernel release", at: nil) }
        return withUnsafeBytes(of: names.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}
