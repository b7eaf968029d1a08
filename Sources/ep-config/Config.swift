import ArgumentParser
import Plumbing
import Tool

/// The command line of `escapepod`, whose name it therefore has in help and messages.
@main
struct Config: Tool {
    static let configuration = CommandConfiguration(
        commandName: "escapepod",
        abstract: "Back up a btrfs volume to a store, and bring it back from the store and the key alone.",
        version: version,
        subcommands: [
            Init.self, Backup.self, Restore.self, Rebuild.self, List.self, Verify.self, Drill.self,
            Status.self, Prune.self, PrintSheet.self,
        ])
}

struct Init: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "init",
        abstract: "Make a key, if there is none, and a configuration.",
        discussion: """
            The store gets the key, sealed under a passphrase: ten new words, unless one is given.
            """)

    @Argument(help: "The configuration to make: NAME for /etc/escapepod/NAME.conf, or a path with a slash.")
    var name: String

    @OptionGroup var subject: Subject

    @OptionGroup var volume: VolumeOption

    @Flag(
        help: """
            Back up a whole machine, so that it can be rebuilt on an empty disk; --volume is where its root is mounted, by \
            default /.
            """)
    var system = false

    @Option(
        help: .init(
            "Do without what the machine has mounted there, or has on this device.", valueName: "path"))
    var leaveOut: [String] = []

    @Option(
        help: .init(
            "Put a copy of the key there: on another drive, or on a mount from another host.",
            valueName: "dir"))
    var keySpace: String?

    @OptionGroup var compression: CompressionOption

    @OptionGroup var given: PassphraseOptions

    @Flag(help: "Ask for the passphrase on the terminal.")
    var askPassphrase = false

    func validate() throws {
        guard !askPassphrase || !given.isGiven else {
            throw ValidationError(
                "only one of '--passphrase-file', '--passphrase-command' and '--ask-passphrase'")
        }
        guard system || leaveOut.isEmpty else { throw ValidationError("'--leave-out' needs '--system'") }
    }

    func run() throws {
        var run = Run("init", of: subject, volume: volume)
        run.offer("key-space", keySpace)
        run.offer("compress", compression.compress)
        run.offer("ask-passphrase", askPassphrase)
        run.offer("system", system)
        run.offer("leave-out", leaveOut.joined(separator: "\n"))
        if system, volume.volume == nil { run.offer("volume", "/") }
        try run.found(called: name)
        var answer = try run.answer(requiring: "volume", "store", "domain", "key")
        answer.add("configuration", run.text)
        answer.append(given.words, to: "passphrase")
        try answer.write()
    }
}

struct Backup: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup",
        abstract: "Take a snapshot and store it, sealed: full at first, then incremental.")

    @OptionGroup var name: NameArgument
    @OptionGroup var subject: Subject
    @OptionGroup var member: MemberOption
    @OptionGroup var volume: VolumeOption
    @OptionGroup var compression: CompressionOption

    @OptionGroup var ages: ChainAges

    @Flag(help: "After it, prune by the rules in the configuration, as escapepod prune does.")
    var prune = false

    @OptionGroup var rehearsal: DryRun

    func run() throws {
        var run = Run("backup", of: subject, volume: volume)
        run.offer("prune", prune)
        run.offer("compress", compression.compress)
        run.offer("full-every", ages.fullEvery)
        run.offer("differential-every", ages.differentialEvery)
        run.offer(Run.rehearsal, rehearsal.dryRun)
        try run.read(name, member: member.member)
        try run.answer(requiring: "volume", "store", "domain", "key").write()
    }
}

struct Restore: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore",
        abstract: "Bring a backup back as a new subvolume, which appears when all of it is verified.")

    @OptionGroup var name: NameArgument
    @OptionGroup var subject: Subject
    @OptionGroup var member: MemberOption

    @Option(
        help: .init(
            "The subvolume to make, on a mounted btrfs; it must not be there yet.", valueName: "dir"))
    var to: String?

    @OptionGroup var choice: Choice

    @OptionGroup var floor: Floor

    @OptionGroup var order: Order

    @OptionGroup var rehearsal: DryRun

    func run() throws {
        var run = Run("restore", of: subject)
        run.offer("verify-first", order.verifyFirst)
        run.offer("to", try to.flatMap(absolute))
        run.offer("generation", choice.generation)
        run.offer("at-least-generation", floor.atLeastGeneration)
        run.offer(Run.rehearsal, rehearsal.dryRun)
        try run.read(name, member: member.member)
        try run.answer(requiring: "store", "domain", "key", "to").write()
    }
}

struct Rebuild: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rebuild",
        abstract: "Bring a whole machine back on an empty disk: partitions, file systems, boot loader.",
        discussion: """
            A disk that is not empty is only taken where --serial or --size says that it is meant, and then everything is \
            verified before it is overwritten. Interrupted, the same command goes on.
            """)

    @OptionGroup var name: NameArgument
    @OptionGroup var subject: Subject

    @Option(help: .init("The disk to make it on, all of it.", valueName: "device"))
    var disk: String?

    @Option(help: .init("Overwrite the disk, if it has this serial number.", valueName: "serial"))
    var serial: String?

    @Option(help: .init("Overwrite the disk, if it has this size.", valueName: "bytes"))
    var size: Int64?

    @Option(
        help: .init(
            "What will start the machine, uefi or bios; default: what has started this one.",
            valueName: "kind"))
    var firmware: String?

    @OptionGroup var given: PassphraseOptions
    @OptionGroup var choice: Choice
    @OptionGroup var floor: Floor
    @OptionGroup var order: Order
    @OptionGroup var rehearsal: DryRun

    func validate() throws {
        guard [nil, "uefi", "bios"].contains(firmware) else {
            throw ValidationError("'--firmware' is uefi or bios")
        }
    }

    func run() throws {
        var run = Run("rebuild", of: subject)
        run.offer("disk", try disk.flatMap(absolute))
        run.offer("serial", serial)
        run.offer("size", size)
        run.offer("firmware", firmware)
        run.offer("verify-first", order.verifyFirst || serial != nil || size != nil)
        run.offer("generation", choice.generation)
        run.offer("at-least-generation", floor.atLeastGeneration)
        run.offer(Run.rehearsal, rehearsal.dryRun)
        try run.read(name)
        var answer = try run.answer(requiring: "store", "domain", "key", "disk")
        answer.append(given.words, to: "passphrase")
        // The drive with the store.
        if let label = run.storeLabel { answer.append(["--spare", label], to: "layout") }
        try answer.write()
    }
}

struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the backups in the store.")

    @OptionGroup var name: NameArgument
    @OptionGroup var subject: Subject
    @OptionGroup var member: MemberOption
    @OptionGroup var volume: VolumeOption

    func run() throws {
        var run = Run("list", of: subject, volume: volume)
        try run.read(name, member: member.member)
        try run.answer(requiring: "store", "domain", "key").write()
    }
}

struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Check every document and every blob in the store. Interrupted, it goes on the next time.")

    @OptionGroup var name: NameArgument
    @OptionGroup var subject: Subject
    @OptionGroup var member: MemberOption
    @OptionGroup var volume: VolumeOption

    @Option(
        help: .init(
            "Read only a share of the bytes: blobs chosen at random, and all documents.", valueName: "n%"))
    var sample: Share?

    @OptionGroup var form: RecordForm

    func run() throws {
        var run = Run("verify", of: subject, volume: volume)
        run.offer("sample", sample)
        run.offer("json", form.json)
        try run.read(name, member: member.member)
        try run.answer(requiring: "store", "domain", "key").write()
    }
}

struct Drill: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drill",
        abstract: "Restore a backup as a test, and compare all of it with the snapshot that is still here.")

    @OptionGroup var name: NameArgument
    @OptionGroup var subject: Subject
    @OptionGroup var member: MemberOption
    @OptionGroup var volume: VolumeOption
    @OptionGroup var choice: Choice

    @Option(
        help: .init(
            "A folder with enough free space to restore into; default: /var/tmp.", valueName: "dir"))
    var scratch: String?

    @Flag(help: "Start a copy of a whole system, in a virtual machine without a network.")
    var boot = false

    func run() throws {
        var run = Run(boot ? "boot_drill" : "drill", of: subject, volume: volume)
        run.offer("generation", choice.generation)
        run.offer("scratch", try scratch.flatMap(absolute) ?? "/var/tmp")
        try run.read(name, member: member.member)
        guard !boot || run.isSystem else {
            throw Failure(
                .usage, "only a whole system can be started", hint: "escapepod init --system sets one up")
        }
        guard choice.generation == nil || !run.isSystem || boot else {
            throw Failure(
                .usage, "each subvolume has generations of its own",
                hint: "give --member with --generation")
        }
        try run.answer(requiring: "volume", "store", "domain", "key").write()
    }
}

struct Status: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Could I restore now? 0: yes, as far as one can tell. 3: something needs attention.")

    @OptionGroup var name: NameArgument
    @OptionGroup var subject: Subject
    @OptionGroup var member: MemberOption
    @OptionGroup var volume: VolumeOption

    @Option(
        help: .init("How old the newest backup may be: 90m, 26h, 8d; default: no limit.", valueName: "age"))
    var maxAge: String?

    @OptionGroup var form: RecordForm

    @Option(
        help: .init(
            "Also write metrics to this file, for node_exporter's textfile collector.", valueName: "file"))
    var prometheus: String?

    func run() throws {
        var run = Run("status", of: subject, volume: volume)
        run.offer("max-age", maxAge)
        run.offer("json", form.json)
        run.offer("prometheus", prometheus)
        try run.read(name, member: member.member)
        try run.answer(requiring: "store", "domain", "key").write()
    }
}

struct Prune: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "prune",
        abstract: "Delete the backups that no rule keeps; for some time, they can be brought back.")

    @OptionGroup var name: NameArgument
    @OptionGroup var subject: Subject
    @OptionGroup(visibility: .hidden) var member: MemberOption

    @Option(
        help: .init(
            "Keep the first backup of each of so many hours, days, weeks, months and years: '24h 14d 10w 12m 3y'.",
            valueName: "periods"))
    var keep: String?

    @Option(help: .init("Keep so many of the newest.", valueName: "n"))
    var keepLast: Int?

    @Option(help: .init("Keep everything that is younger; default: 7d.", valueName: "age"))
    var minimumAge: Delay?

    @Option(
        help: .init(
            "How long what goes is kept in the trash; 0 to make room at once; default: 7d.", valueName: "age")
    )
    var trashAge: Delay?

    @Flag(help: "Bring back what is still in the trash.")
    var undo = false

    @OptionGroup var rehearsal: DryRun

    func run() throws {
        var run = Run("prune", of: subject)
        run.offer("keep", keep)
        run.offer("keep-last", keepLast)
        run.offer("minimum-age", minimumAge)
        run.offer("trash-age", trashAge)
        run.offer("undo", undo)
        run.offer(Run.rehearsal, rehearsal.dryRun)
        try run.read(name, member: member.member)
        try run.answer(requiring: "store", "domain", "key").write()
    }
}

struct PrintSheet: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sheet",
        abstract: "Print the recovery sheet: the key to be typed in, where the backups are, and what to do.",
        discussion: "Keep it off this machine. Print a new one now and then: it names the newest backup.")

    @OptionGroup var name: NameArgument
    @OptionGroup var subject: Subject
    @OptionGroup var member: MemberOption

    @Option(help: .init("Write a page of A4 to this file instead.", valueName: "file"))
    var pdf: String?

    func run() throws {
        var run = Run("sheet", of: subject)
        run.offer("pdf", pdf)
        try run.read(name, member: member.member)
        try run.answer(requiring: "store", "domain", "key").write()
    }
}
