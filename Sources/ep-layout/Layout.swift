public import ArgumentParser
import Glibc
import JSON
public import Layout
import Plumbing
import Tool

@main
struct LayoutTool: Tool {
    static let configuration = CommandConfiguration(
        commandName: "ep-layout",
        abstract: "Describe a machine's disk, and make one like it.",
        version: version,
        subcommands: [
            Members.self, Record.self, ShowPlan.self, Make.self, Complete.self, Start.self, Image.self,
            Backups.self, Placed.self, Encrypted.self,
        ])
}

/// The machine that is looked at.
struct Source: ParsableArguments {
    @Option(help: ArgumentHelp("Where the machine's root is mounted; default: /.", valueName: "dir"))
    var root = "/"

    @Option(
        help: ArgumentHelp(
            "Do without what is mounted there on the machine, or is on this device.", valueName: "path"))
    var leaveOut: [String] = []

    func capture() throws -> Capture { try Capture(root: root, leavingOut: leaveOut) }
}

struct Members: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "members",
        abstract: "List the subvolumes that belong to a machine, each with a label and its path.")

    @OptionGroup var source: Source

    func run() throws {
        var capture = try source.capture()
        for member in try capture.members(say: { say($0) }) {
            guard printable(member.path) == member.path else {
                throw Failure(
                    .badData, "the path of a subvolume cannot stand in a configuration", at: member.path,
                    hint: "rename it, or leave it out")
            }
            try put("\(member.label) \(member.path)")
        }
    }
}

struct Record: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "capture", abstract: "Describe a machine in a capsule. Nothing else is written.")

    @Argument(help: "The capsule: a folder that only root can enter.") var capsule: String
    @OptionGroup var source: Source
    @Option(
        help: ArgumentHelp("A subvolume, by its label and its path on the machine.", valueName: "label path"))
    var member: [Pair]

    struct Pair: ExpressibleByArgument {
        let member: Capture.Member

        init?(argument: String) {
            let parts = argument.split(separator: " ", maxSplits: 1).map(String.init)
            guard parts.count == 2, parts[1].first == "/" else { return nil }
            member = .init(label: parts[0], path: parts[1])
        }
    }

    func run() throws {
        var capture = try source.capture()
        var isComplete = true
        try capture.write(member.map(\.member), into: capsule) {
            warn($0, hint: "--leave-out, or the setting leave_out, agrees to that", from: "ep-layout")
            isComplete = false
        }
        if !isComplete { throw ExitCode(ExitStatus.attention.rawValue) }
    }
}

/// A capsule, and the disk that its machine is to come back on.
struct Destination: ParsableArguments {
    @Argument(help: "The capsule: a folder that only root can enter.") var capsule: String
    @Option(help: ArgumentHelp("The disk.", valueName: "device")) var disk: String
    @Option(help: ArgumentHelp("Overwrite the disk with this serial number.", valueName: "serial"))
    var serial: String?
    @Option(help: ArgumentHelp("Overwrite the disk of this size.", valueName: "bytes")) var size: Int64?
    @Option(
        help: ArgumentHelp("Refuse a disk that has this label, as the store's drive has.", valueName: "label")
    )
    var spare = "escapepod"
    @Option(help: "What will start the machine, uefi or bios; default: what started this one.")
    var firmware: Firmware?
    @Flag(help: "Make a copy that is only started here as a test; the machine itself may be here.")
    var drill = false

    /// - Parameter isUnderWay: nothing is overwritten any more.
    func plan(isUnderWay: Bool = false) throws -> Plan {
        let files = try Capsule(at: capsule)
        if !isUnderWay { Opened.closeLeft(of: files.machine) }
        return try Plan(
            files.machine, identity: files.identity,
            on: Target(at: disk, for: files.machine, sparing: spare, isDrill: drill),
            named: isUnderWay ? nil : .init(serial: serial, size: size),
            firmware: firmware ?? (drill ? files.machine.firmware.first : nil)
                ?? (exists("/sys/firmware/efi") ? .uefi : .bios),
            isDrill: drill)
    }
}

extension Firmware: ExpressibleByArgument {}

struct ShowPlan: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan", abstract: "Print what will be done to a disk. Nothing is written.")

    @OptionGroup var destination: Destination
    @Flag(help: "Print a record, JSON on one line, with every command.") var json = false

    func run() throws {
        let plan = try destination.plan()
        try Descriptor.standardOutput.write(json ? plan.json.line : Array(plan.text.utf8))
    }
}

struct Make: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apply", abstract: "Make partitions and file systems, and mount those for subvolumes.")

    @OptionGroup var destination: Destination
    @Option(help: ArgumentHelp("A folder of our own to mount them in, by their UUIDs.", valueName: "dir"))
    var at: String

    func run() throws {
        let plan = try destination.plan()
        try plan.machine.requireMapper()
        let passphrase = try plan.machine.isEncrypted ? readPassphrase() : []
        try Apply(plan, from: destination.capsule).run(passphrase, mountingAt: at) { try put("  \($0)") }
    }
}

/// What opens encrypted partitions: the standard input without a line end, as a person will type it.
private func readPassphrase() throws -> [UInt8] {
    let input = Descriptor.standardInput
    var bytes = isatty(input.number) == 1 ? [] : try input.readAll(limit: 4096)
    if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
    guard !bytes.isEmpty else {
        throw Failure(
            .usage, "no passphrase for what is encrypted", at: input.name,
            hint: "ep-key passphrase --ask asks for one, and writes it into the pipe to here")
    }
    return bytes
}

struct Complete: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "finish",
        abstract: "Complete a machine whose subvolumes are in place, and check that it can start.")

    @OptionGroup var destination: Destination
    @Option(help: ArgumentHelp("Where its file systems are mounted, by their UUIDs.", valueName: "dir"))
    var at: String

    func run() throws {
        let finish = try Finish(
            destination.plan(isUnderWay: true), from: destination.capsule, mountedAt: at)
        let concerns = try finish.run { try put("  \($0)") }
        for concern in concerns {
            warn(concern, hint: "before it starts, look into it:  \(finish.wayIn)", from: "ep-layout")
        }
        // Whoever waits for it is told that it came to its end.
        try put("  the partition table has its own id again: the machine is whole")
        if !concerns.isEmpty { throw ExitCode(ExitStatus.attention.rawValue) }
    }
}

struct Start: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "boot",
        abstract:
            "Start a copy that was made with --drill, in qemu and without a network, and say how it started.")

    @Argument(help: "The capsule: a folder that only root can enter.") var capsule: String
    @Option(help: ArgumentHelp("The disk with the copy, of which nothing is mounted.", valueName: "device"))
    var disk: String
    @Option(help: ArgumentHelp("How long it may take; default: 900.", valueName: "n")) var seconds = 900

    func run() throws {
        let files = try Capsule(at: capsule)
        let digits = try files.machine.isEncrypted ? readPassphrase() : []
        guard digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else {
            throw Failure(
                .usage,
                "the passphrase of a copy has digits alone, which do no harm where nothing asks for them",
                hint: "take the one that apply --drill was given")
        }
        let outcome = try Boot(files, on: disk).run(limit: seconds, typing: digits)
        try Descriptor.standardOutput.write(outcome.json.line)
        for unit in outcome.failed {
            warn(
                "in the copy, a unit has failed: \(unit)", hint: "it has no network there", from: "ep-layout")
        }
        guard ["running", "degraded"].contains(outcome.state) else {
            throw Failure(
                .badData, "the copy of the machine started into the state \(outcome.state)", at: disk,
                hint: "systemctl(1) says what that is")
        }
        if outcome.state != "running" { throw ExitCode(ExitStatus.attention.rawValue) }
    }
}

struct Image: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "image",
        abstract: "Create a file for a disk as large as a machine's. For escapepod.", shouldDisplay: false)

    @Argument(help: "The capsule.") var capsule: String
    @Argument(help: "The file, which must not exist.") var file: String

    func run() throws {
        let image = try Descriptor(opening: file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600)
        guard ftruncate(image.number, Int(try Capsule(at: capsule).machine.disk.size)) == 0 else {
            throw Failure.system("cannot make it as large as the machine's disk", at: file)
        }
    }
}

struct Backups: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backups", abstract: "List the backups that a capsule names, for escapepod.",
        shouldDisplay: false)

    @Argument(help: "The capsule.") var capsule: String
    @Option(help: ArgumentHelp("The domain of its own backup.", valueName: "domain")) var domain: String

    func run() throws {
        let files = try Capsule(at: capsule)
        let members = try files.members()
        var lines = try members.map { place, backup in
            guard backup.domain == "\(backup.label).\(domain)" else {
                throw Failure(
                    .badData, "the machine's backup names a backup of another one", at: backup.domain,
                    hint: "take an earlier generation")
            }
            return "\(backup.domain)/\(backup.generation)/\(backup.blob)/\(backup.folder)/"
                + "\(place.filesystem)/\(place.path)"
        }
        let root = files.machine.root
        // The capsule itself, which lies in the root.
        lines.append(
            "\(domain)///\(members[0].1.folder)/\(root.filesystem)/\(root.path)/\(Capture.capsule)")
        // A path may hold anything but a zero byte.
        try Descriptor.standardOutput.write(Array(lines.map { "\($0)\0" }.joined().utf8))
    }
}

struct Encrypted: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "encrypted",
        abstract: "Say yes or no: whether a machine has encrypted partitions. For escapepod.",
        shouldDisplay: false)

    @Argument(help: "The capsule.") var capsule: String

    func run() throws {
        let machine = try Capsule(at: capsule).machine
        try machine.requireMapper()
        try put(machine.isEncrypted ? "yes" : "no")
    }
}

struct Placed: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "placed",
        abstract: "Whether a subvolume is in its place: 0, or 10. For escapepod.", shouldDisplay: false)

    @Argument(help: "The top level of its file system.") var folder: String
    @Argument(help: "Its path from there.") var path: String

    func run() throws {
        guard try isPlaced(path, below: folder) else { throw ExitCode(ExitStatus.notFound.rawValue) }
    }
}
