import ArgumentParser
import Plumbing
import Snapshots
import Tool

struct MakeScratch: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scratch",
        abstract: "Find or create a scratch folder that only root can enter, and print its path."
    )

    @Argument(help: "The folder to create it in, which others may write to.") var folder: String
    @Option(
        name: .customLong("for"),
        help: ArgumentHelp("The purpose of the scratch folder.", valueName: "purpose"))
    var purpose: String
    @Flag(help: "Do not create one; print nothing if there is none.") var find = false

    func run() throws {
        if find {
            guard let found = try Scratch.find(in: folder, for: purpose) else { return }
            return try put(found.path)
        }
        try put(Scratch.findOrMake(in: folder, for: purpose).path)
    }
}

struct Promote: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make a received snapshot the live volume, with the slots that its next backup builds on.")

    @Argument(help: "The scratch folder that it was received in.") var scratch: String
    @Argument(help: "The name of the snapshot there.") var snapshot: String
    @Option(help: ArgumentHelp("The live volume to create; it must not exist.", valueName: "path")) var to:
        String
    @Option(help: ArgumentHelp("The name of the folder for the snapshots of one store.", valueName: "name"))
    var name: String
    @Option(help: ArgumentHelp("A slot and the snapshot to put into it.", valueName: "slot=snapshot"))
    var slot: [SlotContent] = []
    @Flag(help: "Leave the inode flags i and a to ep-snap protect.") var unprotected = false

    struct SlotContent: ExpressibleByArgument {
        let slot: Slot
        let name: String

        init?(argument: String) {
            let parts = argument.split(separator: "=", maxSplits: 1)
            guard parts.count == 2, let slot = Slot(rawValue: String(parts[0])) else { return nil }
            self.slot = slot
            name = String(parts[1])
        }
    }

    func run() throws {
        var isComplete = true
        try Scratch(at: scratch).promote(
            snapshot, to: to, slots: slot.map { ($0.slot, $0.name) }, folder: name,
            flags: unprotected ? .noCopyOnWrite : .all
        ) {
            warn($0, from: "ep-snap")
            isComplete = false
        }
        if !isComplete { throw ExitCode(ExitStatus.attention.rawValue) }
    }
}

struct Protect: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Set the inode flags i and a in a restored volume, as its record says.")

    @Argument(help: "The root of the volume.") var volume: String

    func run() throws {
        var isComplete = true
        try Subvolume(volume, absent: .unavailable).restoreFlags(.protecting) {
            warn($0, from: "ep-snap")
            isComplete = false
        }
        if !isComplete { throw ExitCode(ExitStatus.attention.rawValue) }
    }
}

struct Sweep: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Delete snapshots in a scratch folder, or the folder and everything in it.")

    @Argument(help: "The scratch folder.") var scratch: String
    @Argument(help: "The snapshots to delete; if none is named, everything, and the folder itself.")
    var names: [String] = []

    func run() throws {
        let folder = try Scratch(at: scratch)
        guard !names.isEmpty else { return try folder.remove(at: scratch) }
        for name in names { try folder.delete(name) }
    }
}

struct AskRoom: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "room",
        abstract: "Check that a folder has space for a restore, and warn of what may get in the way.")

    @Argument(help: "The folder.") var folder: String
    @Option(help: ArgumentHelp("The maximum number of bytes that will be written.", valueName: "bytes"))
    var need: UInt64

    func run() throws {
        let room = try Room(in: folder, need: need)
        guard room.available >= need else {
            throw Failure(
                .io,
                "not enough space: \(readable(bytes: room.available)) available, \(readable(bytes: need)) needed",
                at: folder)
        }
        for warning in room.warnings { warn(warning, from: "ep-snap") }
    }
}
