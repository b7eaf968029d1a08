import ArgumentParser
import Glibc
import Plumbing
import Receiving
import Snapshots
import Tool

struct Receive: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "receive",
        abstract: "Receive a btrfs send stream from standard input, confined to the new subvolume.")

    @Argument(help: "A private folder on btrfs: yours or root's, with mode 0700.") var folder: String
    @Argument(help: "The name of the subvolume to create there.") var name: String
    @Option(help: ArgumentHelp("The UUID of the subvolume that the stream must contain.", valueName: "uuid"))
    var received: String
    @Option(
        help: ArgumentHelp(
            "The subvolume in the folder that an incremental stream builds on.", valueName: "name"))
    var parent: String?
    @Flag(help: "Print the record as JSON.") var json = false

    func run() throws {
        do {
            let made = try receive(
                from: .standardInput, as: name, in: .folder(at: absolute(folder)), expecting: received,
                upon: parent
            ) { say("ep-snap: \(printable($0)): \(printable(name))") }
            try show([.snapshot(made)]) { json ? $0.first : nil }
        } catch let failure as Failure where failure.status == .badData {
            // The stages in front then come to their own verdicts, and not to that of a pipe without a reader.
            try? Descriptor.standardInput.drain()
            throw failure
        }
    }

    /// The record names an absolute path.
    private func absolute(_ path: String) throws -> String {
        guard !path.hasPrefix("/") else { return path }
        guard let here = getcwd(nil, 0) else {
            throw Failure.system("cannot determine the current directory", at: path)
        }
        defer { free(here) }
        return "\(String(cString: here))/\(path)"
    }
}
