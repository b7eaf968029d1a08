public import ArgumentParser
import Glibc
import JSON
import Plumbing
public import Snapshots
import Tool

@main
struct Snap: Tool {
    static let configuration = CommandConfiguration(
        commandName: "ep-snap",
        abstract: "Manage the snapshots that backups are made from.",
        version: version,
        subcommands: [
            Create.self, List.self, Find.self, Rotate.self, Discard.self, Move.self, Import.self, Check.self,
            Estimate.self,
            Compare.self, Nested.self, MakeScratch.self, Resume.self, Receive.self, Promote.self,
            Protect.self, Sweep.self,
            AskRoom.self, Vacant.self, Look.self,
        ])
}

extension Slot: ExpressibleByArgument {}
extension BackupType: ExpressibleByArgument {}

/// Which slots: those of one store in one volume.
struct Place: ParsableArguments {
    @Argument(help: "The root of a mounted btrfs subvolume.")
    var volume: String

    @Option(help: ArgumentHelp("The name of the folder for the snapshots of one store.", valueName: "name"))
    var name: String

    func slots() throws -> Slots {
        try Slots(in: Subvolume(volume, absent: .unavailable), name: name)
    }
}

struct Create: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create",
        abstract: "Take a read-only snapshot of a volume into the slot current-state.")

    @OptionGroup var place: Place
    @Flag(help: "Delete the snapshot that a failed backup left there, first.") var anew = false
    @Option(help: ArgumentHelp("Also write what look prints to this file, first.", valueName: "file"))
    var look: String?
    @Flag(help: "Print the record as JSON.") var json = false

    func run() throws {
        if let look {
            let file = try Descriptor(opening: look, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
            try Look.look(at: place.volume) { try file.write(Array("\($0)\n".utf8)) }
        }
        var isComplete = true
        let slots = try place.slots()
        if anew { try slots.discard() }
        let made = try slots.create {
            warn($0, from: "ep-snap")
            isComplete = false
        }
        try show([.snapshot(made)]) { json ? $0.first : nil }
        if !isComplete { throw ExitCode(ExitStatus.attention.rawValue) }
    }
}

struct List: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List the occupied slots.")

    @OptionGroup var place: Place
    @Flag(help: "Print a JSON array of records.") var json = false

    func run() throws {
        try show(place.slots().list()) { json ? .array($0) : nil }
    }
}

struct Rotate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rotate", abstract: "Rotate the slots after a committed backup.")

    @OptionGroup var place: Place
    @Option(help: ArgumentHelp("The type of the backup: full or incremental.", valueName: "type"))
    var type: BackupType

    func run() throws { try place.slots().rotate(after: type) }
}

struct Discard: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "discard", abstract: "Delete current-state after a failed backup.")

    @OptionGroup var place: Place

    func run() throws { try place.slots().discard() }
}

struct Move: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "move",
        abstract: "Rename the folder of the slots.")

    @OptionGroup var place: Place
    @Option(help: ArgumentHelp("The new name, which must be free.", valueName: "name")) var to: String

    func run() throws { try place.slots().move(to: to) }
}

struct Import: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import",
        abstract: "Import a received snapshot into a slot, as a snapshot of it.")

    @OptionGroup var place: Place
    @Option(help: "The slot; its previous content is deleted.") var slot: Slot
    @Argument(help: "A read-only snapshot made by btrfs receive, on the volume's file system.")
    var snapshot: String
    @Flag(help: "Print the record as JSON.") var json = false

    func run() throws {
        let source = try Subvolume(snapshot, absent: .badData)
        try show([.snapshot(place.slots().importSnapshot(source, into: slot))]) { json ? $0.first : nil }
    }
}

struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract:
            "Check that a snapshot was received completely: read-only, and with the expected received UUID.")

    @Argument(help: "The snapshot.") var snapshot: String
    @Option(help: ArgumentHelp("The received UUID that it must have.", valueName: "uuid"))
    var received: String

    func run() throws {
        let snapshot = try Snapshot(of: Subvolume(snapshot, absent: .badData))
        let hint = "btrfs receive did not finish, or the snapshot was changed since"
        guard snapshot.isReadOnly else {
            throw Failure(.badData, "the snapshot is writable", at: snapshot.path, hint: hint)
        }
        guard let there = snapshot.receivedUUID else {
            throw Failure(.badData, "the snapshot has no received UUID", at: snapshot.path, hint: hint)
        }
        guard there == received.lowercased() else {
            throw Failure(.badData, "the snapshot has another received UUID: \(there)", at: snapshot.path)
        }
    }
}

struct Nested: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "nested",
        abstract: "List the subvolumes below a volume, which a backup of it leaves out.")

    @Argument(help: "The root of a mounted btrfs subvolume.") var volume: String
    @Flag(help: "Print a JSON array of paths.") var json = false

    func run() throws {
        let paths = try Subvolume(volume, absent: .unavailable).nested()
        // JSON has no place for what is no UTF-8.
        let lines =
            json
            ? JSON.array(paths.map { .string(String(validating: $0, as: UTF8.self) ?? printable($0)) }).line
            : Array(paths.map { "\(printable($0))\n" }.joined().utf8)
        try Descriptor.standardOutput.write(lines)
    }
}

struct Look: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "look",
        abstract:
            "Look at a volume before a backup: options for btrfs send, what it leaves out, and its space.",
        discussion: """
            The first line has the options, or nothing; those behind it the subvolumes below, as nested has them. Whatever \
            may get in the way is a warning, as of room.
            """)

    @Argument(help: "The root of a mounted btrfs subvolume.") var volume: String

    func run() throws { try Look.look(at: volume, print: put) }

    static func look(at volume: String, print: (String) throws -> Void) throws {
        let subvolume = try Subvolume(volume, absent: .unavailable)
        try print(subvolume.sendOptions().joined(separator: " "))
        for path in try subvolume.nested() { try print(printable(path)) }
        try requireRoom(in: volume, need: 0)
    }
}

/// Prints what slots hold as what `json` makes of their records, or as a table where that is nil.
func show(_ holdings: [Holding], json: ([JSON]) -> JSON?) throws {
    if let value = json(holdings.map(\.record)) { return try Descriptor.standardOutput.write(value.line) }
    let rows =
        [["SLOT", "UUID", "RECEIVED UUID", "GENERATION", "CREATED", "READ-ONLY"]]
        + holdings.map {
            switch $0 {
            case .stub(let stub): [stub.slot.rawValue, "-", "-", "-", "-", "stub"]
            case .snapshot(let it):
                [
                    it.slot?.rawValue ?? "-", it.uuid, it.receivedUUID ?? "-", "\(it.generation)", it.date,
                    it.isReadOnly ? it.isChanged ? "changed" : "yes" : "no",
                ]
            }
        }
    let widths = rows[0].indices.map { column in rows.map { $0[column].utf8.count }.max() ?? 0 }
    for row in rows {
        var line = ""
        for (cell, width) in zip(row, widths) {
            if !line.isEmpty { line += "  " }
            line += cell + String(repeating: " ", count: width - cell.utf8.count)
        }
        while line.last == " " { line.removeLast() }
        try Descriptor.standardOutput.write(Array("\(line)\n".utf8))
    }
}
