import ArgumentParser
import Envelope
import Glibc
import JSON
import Plumbing
import Storage
import StoreArguments
import StoreFormat
import Tool

@main
struct StoreTool: Tool {
    static let configuration = CommandConfiguration(
        commandName: "ep-store",
        abstract: "Put a sealed backup into a store, durably and atomically.",
        version: version,
        subcommands: [
            Blob.self, Metadata.self, Key.self, Pruning.self, Discard.self, Recover.self, EmptyTrash.self,
            Name.self,
        ])
}

struct Blob: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "blob",
        abstract: "Store the sealed blob on standard input and print its receipt.")

    @OptionGroup var place: Place

    func run() throws {
        // The store is then told of a limit on a file's length, and continues in another file.
        signal(SIGXFSZ, SIG_IGN)
        let receipt = try place.open(for: .writing, by: "ep-store") {
            try $0.storeBlob(of: $1, from: .standardInput)
        }
        try Descriptor.standardOutput.write(receipt.json.line)
    }
}

struct Metadata: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "metadata",
        abstract:
            "Make the sealed metadata on standard input the head, unless the head has moved; print a record."
    )

    @OptionGroup var place: Place

    @Option(help: "The blob that it describes: a SHA-256.")
    var blob: String

    @Option(help: "The blob of the head that it follows: a SHA-256, or none.")
    var follows: String

    @Option(help: "The blob of the backup that it builds on: a SHA-256, or none for a full one.")
    var parent: String

    private func address(orNone text: String) throws -> Address? {
        text == "none" ? nil : try Address(text)
    }

    func run() throws {
        let (blob, head, parent) = try (Address(blob), address(orNone: follows), address(orNone: parent))
        signal(SIGXFSZ, SIG_IGN)
        let input = Descriptor.standardInput
        let metadata = try input.readAll(limit: StoreLimits.document)
        try place.open(for: .writing, by: "ep-store") {
            try $0.storeMetadata(
                metadata, of: $1, for: blob, following: head, buildingOn: parent, from: input.name)
        }
        let record: JSON = [
            "blob": .string(blob.hex), "follows": head.map { .string($0.hex) } ?? .null,
            "parent": parent.map { .string($0.hex) } ?? .null,
            "size": .integer(Int64(metadata.count)),
        ]
        try Descriptor.standardOutput.write(record.line)
    }
}

struct Key: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "key",
        abstract: "Store the key on standard input, sealed by ep-key wrap, with the backups; print a record."
    )

    @OptionGroup var place: Place

    @Option(
        parsing: .upToNextOption,
        help: .init(
            "Files for whoever finds the store, to put into its top folder; a server has none.",
            valueName: "file"))
    var with: [CompanionFile] = []

    func run() throws {
        signal(SIGXFSZ, SIG_IGN)
        let input = Descriptor.standardInput
        let key = try input.readAll(limit: StoreLimits.key)
        let files = try with.map { (name: $0.name, bytes: try $0.read()) }
        try place.open(for: .writing, by: "ep-store") {
            try $0.storeKey(key, of: $1, from: input.name, with: files)
        }
        let header = try Envelope.Header(parsing: Array(key.prefix(Envelope.headerLength)), at: input.name)
        let record: JSON = ["keyId": .string(header.keyID.hex), "size": .integer(Int64(key.count))]
        try Descriptor.standardOutput.write(record.line)
    }
}

struct Pruning: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pruning",
        abstract: "Keep the sealed record of a pruning that is on standard input; print a record.")

    @OptionGroup var place: Place

    func run() throws {
        signal(SIGXFSZ, SIG_IGN)
        let input = Descriptor.standardInput
        let pruning = try input.readAll(limit: StoreLimits.document)
        try place.open(for: .writing, by: "ep-store") {
            try $0.storePruning(pruning, of: $1, from: input.name)
        }
        let record: JSON = ["size": .integer(Int64(pruning.count))]
        try Descriptor.standardOutput.write(record.line)
    }
}

/// The blobs on standard input, one a line.
private func addresses() throws -> [Address] {
    var addresses: [Address] = []
    let input = Descriptor.standardInput
    try input.lines(upTo: 65) { line, number in
        guard line.last == UInt8(ascii: "\n"),
            let address = try? Address(String(decoding: line.dropLast(), as: UTF8.self))
        else {
            throw Failure(
                .badData, "not an address of a blob", at: "\(input.name), line \(number)",
                hint: "each line is a SHA-256: 64 lower-case hexadecimal digits")
        }
        addresses.append(address)
    }
    return addresses
}

struct Discard: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "discard",
        abstract: "Move the blobs on standard input to the trash; what is not there is passed over.",
        discussion:
            "A line for each: its SHA-256. ep-store recover brings them back, until ep-store empty-trash.")

    @OptionGroup var place: Place

    func run() throws {
        let blobs = try addresses()
        let held = try place.open(for: .writing, by: "ep-store") { try $0.discard(blobs, of: $1) }
        guard held > 0 else { return }
        say(
            "ep-store: the store keeps \(held) of \(count(Int64(blobs.count), "blob")) for now: younger than what it keeps, needed by such, or "
                + "more than it lets go in a day")
    }
}

struct Recover: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "recover",
        abstract: "Bring the blobs on standard input back from the trash; what is not there is passed over.")

    @OptionGroup var place: Place

    func run() throws {
        let blobs = try addresses()
        try place.open(for: .writing, by: "ep-store") { try $0.recover(blobs, of: $1) }
    }
}

struct EmptyTrash: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "empty-trash",
        abstract: "Remove for good what has been in the trash for some time, and print its size in bytes.")

    @OptionGroup var place: Place

    @Option(
        help: .init("For how long: 90m, 26h, 7d, 2w; or 0, for all of it.", valueName: "age"))
    var olderThan: Delay

    func run() throws {
        let freed = try place.open(for: .writing, by: "ep-store") {
            try $0.emptyTrash(of: $1, olderThan: olderThan.seconds)
        }
        try put("\(freed)")
    }
}

struct Name: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "name",
        abstract: "Print a name for a folder that belongs to this store alone.",
        discussion: "It does not contact the store. Different spellings of one URL give the same name.")

    @OptionGroup var store: StoreArgument

    func run() throws { try put(store.parsed().folderName) }
}
