import ArgumentParser
import JSON
import Plumbing
import Storage
import StoreArguments
import StoreFormat
import Tool

@main
struct Fetch: Tool {
    static let configuration = CommandConfiguration(
        commandName: "ep-fetch",
        abstract: "Get a sealed backup out of a store.",
        version: version,
        subcommands: [
            Last.self, Document.self, History.self, Blob.self, List.self, Blobs.self, Room.self, Key.self,
            File.self, Differing.self, Apart.self,
        ])
}

extension Place {
    func read<Result>(_ body: (any Store, Domain) throws -> Result) throws -> Result {
        try open(for: .reading, by: "ep-fetch", body)
    }

    func requireApart(from folder: String) throws {
        guard try isApart(from: folder) else { throw together("the store \(url)", folder) }
    }
}

/// The failure of what is not apart from a folder.
private func together(_ what: String, _ folder: String) -> Failure {
    Failure(
        .usage, "\(what) is on the file system of this folder", at: folder,
        hint: "they would be lost, or found, together; choose another drive, or another host")
}

/// For callers that continue if there is none yet.
struct Lenience: ParsableArguments {
    @Flag(help: "If there is none, exit with status 10 without a message.")
    var orNone = false

    func read(_ place: Place, _ body: (any Store, Domain) throws -> [UInt8]) throws {
        let bytes: [UInt8]
        do { bytes = try place.read(body) } catch let failure as Failure
            where failure.status == .notFound && orNone
        {
            throw ExitCode(failure.status.rawValue)
        }
        try Descriptor.standardOutput.write(bytes)
    }
}

struct Last: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "last",
        abstract: "Write the sealed metadata of the newest backup.")

    @OptionGroup var place: Place
    @OptionGroup var lenience: Lenience

    @Option(
        help: .init(
            "First, fail unless the store and this folder are on different file systems.",
            valueName: "folder"))
    var apart: String?

    func run() throws {
        if let apart { try place.requireApart(from: apart) }
        try lenience.read(place) { try $0.lastMetadata(of: $1).metadata }
    }
}

struct Document: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "document",
        abstract: "Write the sealed metadata of the backup with the given blob.")

    @OptionGroup var place: Place

    @OptionGroup var lenience: Lenience

    @Argument(help: "The blob: a SHA-256.")
    var blob: String

    func run() throws {
        let blob = try Address(blob)
        try lenience.read(place) { try $0.metadata(of: blob, in: $1).metadata }
    }
}

struct History: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "history",
        abstract: "Write the sealed metadata of every backup, oldest first; ep-unseal opens the series.")

    @OptionGroup var place: Place

    @Flag(help: "If there is none, write a series without a document.")
    var orNone = false

    @Flag(help: "The newest backup first.")
    var newestFirst = false

    func run() throws {
        let isWhole = try place.read { store, domain in
            try store.fetchHistory(
                of: domain, newestFirst: newestFirst, orNone: orNone, to: .standardOutput,
                complain: { say($0.message(from: "ep-fetch")) })
        }
        guard isWhole else { throw ExitCode(ExitStatus.attention.rawValue) }
    }
}

struct Blob: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "blob",
        abstract: "Write a sealed blob; its last bytes only if all of it is correct.")

    @OptionGroup var place: Place

    @Argument(help: "The blob: a SHA-256.")
    var blob: String

    @Option(help: "The length in bytes that it must have.")
    var size: UInt64?

    @Option(help: "The SHA-512 that it must have.")
    var sha512: String?

    func run() throws {
        let blob = try Address(blob)
        if let sha512, !sha512.isHex(bytes: 64) {
            throw Failure(
                .usage, "not a SHA-512", at: "--sha512", hint: "it has 128 lower-case hexadecimal digits")
        }
        try place.read {
            try $0.fetchBlob(blob, of: $1, to: .standardOutput, size: size, sha512: sha512)
        }
    }
}

struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "Print the blob of every backup, oldest first.")

    @OptionGroup var place: Place

    @Flag(help: "Print an array of objects with the member sha256.")
    var json = false

    func run() throws {
        let blobs = try place.read { try $0.list(of: $1) }
        let lines =
            json
            ? JSON.array(blobs.map { ["sha256": .string($0.hex)] }).line
            : Array(blobs.map { "\($0)\n" }.joined().utf8)
        try Descriptor.standardOutput.write(lines)
    }
}

struct Blobs: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "blobs",
        abstract: "Print every blob that is there, whether or not a backup has it.",
        discussion: """
            A line for each: its SHA-256, its size in bytes, the seconds since it was stored, and "stored"; in the trash, the \
            seconds since it came there, and "trash". What the store does not let go for now, whoever asks, is "held". \
            The last line says how many there are.
            """)

    @OptionGroup var place: Place

    func run() throws {
        let text = BlobEntry.text(of: try place.read { try $0.blobs(of: $1) })
        try Descriptor.standardOutput.write(Array(text.utf8))
    }
}

struct Room: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "room",
        abstract: "Print how many bytes the store has room for; or \"unknown\".")

    @OptionGroup var place: Place

    func run() throws {
        try put(place.read { try $0.room(for: $1) }.map { "\($0)" } ?? "unknown")
    }
}

struct Key: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "key",
        abstract: "Write the sealed key that was stored last; ep-key unwrap opens it.")

    @OptionGroup var place: Place
    @OptionGroup var lenience: Lenience

    func run() throws {
        try lenience.read(place) { try $0.sealedKey(of: $1) }
    }
}

struct File: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "file",
        abstract: "Write a file from the top folder of a directory or drive.")

    @OptionGroup var place: Place

    @Argument(help: "The name of the file.")
    var name: String

    func run() throws {
        try Descriptor.standardOutput.write(place.read { store, _ in try store.file(named: name) })
    }
}

struct Differing: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "differing",
        abstract: "Print which files in the store's top folder differ from the given ones of the same name.",
        discussion: "A store that has no such folder, or no file of that name, has none that differs.")

    @OptionGroup var place: Place

    @Argument(help: "The files as they should be.")
    var files: [CompanionFile]

    func run() throws {
        let differing = try place.read { store, _ in
            try files.filter { file in
                let there: [UInt8]
                do { there = try store.file(named: file.name) } catch let failure as Failure
                    where [.badData, .notFound].contains(failure.status)
                { return failure.status == .badData }
                return try file.read() != there
            }
        }
        for file in differing { try put(printable(file.name)) }
    }
}

struct Apart: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apart",
        abstract: "Fail unless the store and the folders are on different file systems.")

    @OptionGroup var place: Place

    @Argument(help: "The folders.")
    var folders: [String]

    func run() throws {
        for folder in folders { try place.requireApart(from: folder) }
        for (index, folder) in folders.enumerated() {
            for other in folders[..<index] where try !StoreURL("file:\(folder)").driver.isApart(from: other) {
                throw together("the folder \(folder)", other)
            }
        }
    }
}
