import ArgumentParser
import Glibc
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
    @Flag(help: "Delete one that a run left that was killed; none is created.") var drop = false
    @Flag(help: "Delete one that a run left that was killed, first.") var anew = false
    @Option(
        help: ArgumentHelp(
            "Mount a new btrfs there, in a file of the folder that has no name, and create it on that.",
            valueName: "dir"))
    var mount: String?
    @Option(
        help: ArgumentHelp("The maximum number of bytes that will be written there.", valueName: "bytes"))
    var need: UInt64?

    func validate() throws {
        guard mount == nil || need != nil else { throw ValidationError("'--mount' needs '--need'") }
        guard [find, drop, anew || need != nil].count(where: { $0 }) <= 1 else {
            throw ValidationError("only one of '--find', '--drop' and '--need' or '--anew'")
        }
    }

    func run() throws {
        if find {
            guard let found = try Scratch.find(in: folder, for: purpose) else { return }
            return try put(found.path)
        }
        guard !drop else { return try MakeScratch.drop(in: folder, for: purpose) }
        if anew { try MakeScratch.drop(in: folder, for: purpose) }
        if let need { try requireRoom(in: folder, need: need) }
        if let mount, let need { try NamelessFileSystem.mount(at: mount, in: folder, need: need) }
        try put(Scratch.findOrMake(in: mount ?? folder, for: purpose).path)
    }

    /// - Throws: `busy` where a run is at work in it.
    static func drop(in folder: String, for purpose: String) throws {
        guard let found = try Scratch.find(in: folder, for: purpose) else { return }
        let path = found.path
        try found.lock()
        try found.remove(at: path)
    }
}

struct Vacant: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vacant",
        abstract:
            "Check that a restore can create a subvolume: nothing is there, and its folder is on a btrfs.")

    @Argument(help: "The path of the subvolume.") var path: String
    @Option(
        name: .customLong("for"),
        help: ArgumentHelp(
            "If something is there, delete the scratch folder for this purpose beside it.",
            valueName: "purpose"))
    var purpose: String?
    @Flag(help: "Delete nothing.") var dryRun = false

    func run() throws {
        let place: Entry
        do { place = try Entry(at: path) } catch let failure as Failure where failure.code == ENOENT {
            throw Failure(
                .unavailable, "no such folder", at: failure.place, hint: "mount the new btrfs first")
        }
        var status = stat()
        guard fstatat(place.folder.number, place.name, &status, AT_SYMLINK_NOFOLLOW) != 0 else {
            if let purpose, !dryRun { try MakeScratch.drop(in: place.folder.name, for: purpose) }
            throw Failure(
                .io, "already exists", at: path, hint: "a restore never overwrites; choose a new name")
        }
        guard errno == ENOENT else { throw Failure.system("cannot look for it", at: path) }
        guard try Room(in: place.folder.name, need: 0).isBtrfs else {
            throw Failure(
                .badData, "not on btrfs", at: place.folder.name, hint: "a restore needs a mounted btrfs")
        }
    }
}

/// The backups that are received one on the other, the full one first.
struct ChainOption: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The backups, the full one first: the lines of ep-meta chain behind its first.",
            valueName: "file"))
    var chain: String

    func backups() throws -> [ReceivedChain.Backup] {
        var backups: [ReceivedChain.Backup] = []
        try Descriptor(opening: chain, O_RDONLY).lines(upTo: 4096) { line, number in
            let words = String(decoding: line, as: UTF8.self).split(whereSeparator: \.isWhitespace)
            guard words.count == 5 else {
                throw Failure(.badData, "not a backup of a chain", at: "\(chain), line \(number)")
            }
            backups.append(
                .init(
                    name: String(words[0]), size: String(words[1]), received: String(words[3])))
        }
        guard !backups.isEmpty else { throw Failure(.badData, "not a chain: it is empty", at: chain) }
        return backups
    }
}

struct Resume: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resume",
        abstract: "Print which backups of a chain a scratch folder still lacks, for a script.",
        discussion: """
            A line for each: blob, size in bytes, the UUID that it is received as, the parent that is received before it, \
            and a snapshot that can be deleted behind it; the last two may be missing.
            """)

    @Argument(help: "The scratch folder.") var scratch: String
    @OptionGroup var chain: ChainOption

    func run() throws {
        let lacking = try ReceivedChain.resume(chain.backups(), in: Scratch(at: scratch))
        for it in lacking {
            let words = [it.backup.name, it.backup.size, it.backup.received, it.parent, it.spare]
            try put(words.compactMap(\.self).joined(separator: " "))
        }
    }
}

struct Promote: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "promote",
        abstract: "Make a received chain the live volume, with the slots that its next backup builds on.")

    @Argument(help: "The scratch folder that it was received in.") var scratch: String
    @OptionGroup var chain: ChainOption
    @Option(help: ArgumentHelp("The live volume to create; it must not exist.", valueName: "path")) var to:
        String
    @Option(help: ArgumentHelp("The name of the folder for the snapshots of one store.", valueName: "name"))
    var name: String
    @Flag(help: "Leave the inode flags i and a to ep-snap protect.") var unprotected = false

    func run() throws {
        let backups = try chain.backups()
        var isComplete = true
        try Scratch(at: scratch).promote(
            backups[backups.count - 1].name, to: to, slots: ReceivedChain.slots(backups), folder: name,
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
        commandName: "protect",
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
        commandName: "sweep",
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

    func run() throws { try requireRoom(in: folder, need: need) }
}

/// - Throws: `io` where a folder has less room than that.
func requireRoom(in folder: String, need: UInt64) throws {
    let room = try Room(in: folder, need: need)
    guard room.available >= need else {
        throw Failure(
            .io,
            "not enough space: \(readable(bytes: room.available)) available, \(readable(bytes: need)) needed",
            at: folder)
    }
    for warning in room.warnings { warn(warning, from: "ep-snap") }
}
