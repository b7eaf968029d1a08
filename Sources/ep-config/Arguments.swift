import ArgumentParser
import StoreArguments
import Tool

struct NameArgument: ParsableArguments {
    @Argument(
        help: """
            A configuration: NAME for /etc/escapepod/NAME.conf, or a path with a slash. Options override its lines.
            """)
    var name: String?
}

/// What every command has to know.
struct Subject: ParsableArguments {
    @Option(help: .init("Where the backups are; ep-store(1) has the kinds of stores.", valueName: "url"))
    var store: String?

    @Option(
        help: .init(
            "The name of this system in the store; default of init: this host's name.", valueName: "domain"))
    var domain: String?

    @Option(
        help: .init("The key file; default of init: /etc/escapepod/NAME.key.", valueName: "file"))
    var key: String?

    @OptionGroup var driver: DriverOptions

    @OptionGroup var patience: PatienceOption
}

struct VolumeOption: ParsableArguments {
    @Option(help: .init("What is backed up: the root of a mounted btrfs subvolume.", valueName: "dir"))
    var volume: String?
}

struct MemberOption: ParsableArguments {
    @Option(
        help: .init(
            "Of a whole system, only the subvolume that its configuration calls so.", valueName: "label"))
    var member: String?
}

struct DryRun: ParsableArguments {
    @Flag(help: "Print the plan and stop.")
    var dryRun = false
}

extension PassphraseOptions {
    /// The same for ep-key.
    var words: [String] {
        (passphraseFile.map { ["--passphrase-file", $0] } ?? [])
            + (passphraseCommand.map { ["--passphrase-command", $0] } ?? [])
    }
}

struct Choice: ParsableArguments {
    @Option(help: .init("Take an earlier backup, by the number that list shows.", valueName: "n"))
    var generation: Generation?
}

struct Floor: ParsableArguments {
    @Option(
        help: .init("Refuse a store whose newest backup is older than this generation.", valueName: "n"))
    var atLeastGeneration: Generation?
}

struct Order: ParsableArguments {
    @Flag(help: "Read and verify everything once before anything is written.")
    var verifyFirst = false
}

struct RecordForm: ParsableArguments {
    @Flag(help: "Print a record, JSON on one line.")
    var json = false
}

/// The number of a backup, 1 to 9,999,999,999.
struct Generation: ExpressibleByArgument, CustomStringConvertible {
    let number: Int64

    init?(argument: String) {
        guard let number = Int64(argument), (1...9_999_999_999).contains(number) else { return nil }
        self.number = number
    }

    var description: String { "\(number)" }
}

/// A share of the bytes, 1 to 100 per cent, with or without the sign.
struct Share: ExpressibleByArgument, CustomStringConvertible {
    let percent: Int

    init?(argument: String) {
        let digits = argument.last == "%" ? argument.dropLast() : argument[...]
        guard let percent = Int(digits), (1...100).contains(percent) else { return nil }
        self.percent = percent
    }

    var description: String { "\(percent)" }
}
