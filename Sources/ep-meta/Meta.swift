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
        abstract: "Make, show and check metadata documents.",
        version: version,
        subcommands: [Create.self, Show.self, Check.self, Keep.self, Printable.self])
}

struct Create: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print the document of a backup whose blob is in the store.",
        usage: """
            ep-meta create --domain DOMAIN --plan FILE --snapshot FILE --report FILE \
            --receipt FILE --btrfs-progs VERSION
            """)

    @Option(help: "The system that is backed up.")
    var domain: String

    @Option(help: .init("What ep-plan printed.", valueName: "file"))
    var plan: String

    @Option(help: .init("What ep-snap create --json printed.", valueName: "file"))
    var snapshot: String

    @Option(help: .init("What ep-seal --report wrote.", valueName: "file"))
    var report: String

    @Option(help: .init("What ep-store blob printed.", valueName: "file"))
    var receipt: String

    @Option(help: .init("The version of the btrfs command that sent.", valueName: "version"))
    var btrfsProgs: String

    func run() throws {
        try require(domain: domain)
        let document = try Document.create(
            domain: domain,
            plan: Plan(record(plan), at: plan),
            snapshot: Snapshot(record(snapshot), at: snapshot),
            report: Report(record(report), at: report),
            receipt: Receipt(record(receipt), at: receipt),
            producer: Producer(escapepod: version, kernel: kernelRelease(), btrfsProgs: btrfsProgs))
        try Descriptor.standardOutput.write(document)
    }

    private func record(_ path: String) throws -> JSON {
        try JSON(parsing: Descriptor(opening: path, O_RDONLY).readAll(limit: 2 << 20), at: path)
    }

    private func kernelRelease() throws -> String {
        var names = utsname()
        guard uname(&names) == 0 else { throw Failure.system("cannot ask for the kernel's release", at: nil) }
        return withUnsafeBytes(of: names.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}

struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print a document for people, or for a shell.",
        usage: "ep-meta show [--format text|sh] < METADATA")

    enum Format: String, ExpressibleByArgument, CaseIterable {
        case text
        case sh
    }

    @Option(help: .init("A page to read, or assignments for a shell to eval.", valueName: "text|sh"))
    var format = Format.text

    func run() throws {
        let input = Descriptor.standardInput
        let metadata = try Document(
            parsing: input.readAll(limit: Document.maximumLength + 1), at: input.name
        ).metadata
        try Descriptor.standardOutput.write(Array((format == .sh ? metadata.shell : metadata.page).utf8))
    }
}

struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check one document, or a chain of them: one a line, oldest first.",
        usage: "ep-meta check [--domain DOMAIN] < METADATA")

    @Option(help: "The system that every document must be of.")
    var domain: String?

    func run() throws {
        if let domain { try require(domain: domain) }
        var chain = Chain(domain: domain)
        let input = Descriptor.standardInput
        let count = try input.lines(upTo: Document.maximumLength + 1) { line, number in
            let place = "\(input.name), line \(number)"
            try chain.append(Document(parsing: line, at: place), at: place)
        }
        guard count > 0 else {
            throw Failure(
                .badData, "empty input", at: input.name,
                hint: "the stage in front of this one may have failed; see its message")
        }
    }
}

struct Keep: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Put standard input in place as a file: whole or not at all, durably, following no link.")

    @Argument(help: "The file.")
    var file: String

    @Option(help: .init("What the file gets, whatever the umask (0600).", valueName: "octal"))
    var mode: String?

    @Flag(help: "Fail where there is a file of that name.")
    var new = false

    @Flag(help: "Make the folders that are missing on the way, mode 0700.")
    var parents = false

    func run() throws {
        guard let mode = mode_t(mode ?? "0600", radix: 8), mode <= 0o777 else {
            throw Failure(.usage, "no mode of a file", at: "--mode", hint: "octal digits, as in 0644")
        }
        let input = Descriptor.standardInput
        let bytes = try input.readAll(limit: 16 << 20)
        guard !bytes.isEmpty else {
            throw Failure(
                .badData, "empty input", at: input.name, hint: "what should have written it may have failed")
        }
        if parents { try makeFolders(above: file) }
        try AtomicFile.write(bytes, to: file, mode: mode, replacing: !new)
    }
}

struct Printable: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print standard input as one line that a terminal may show.")

    func run() throws {
        try put(printable(Descriptor.standardInput.readAll(limit: 1 << 20)))
    }
}
