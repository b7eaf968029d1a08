import ArgumentParser
import Plumbing
import Snapshots
import Tool

struct Find: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "find",
        abstract: "Print the path of the snapshot in a slot that is, or was received as, a given one.")

    @OptionGroup var place: Place
    @Argument(help: "The UUID.") var uuid: String

    func run() throws {
        let found = try place.slots().list().lazy.compactMap { holding -> Snapshot? in
            guard case .snapshot(let it) = holding, it.isReadOnly, [it.uuid, it.receivedUUID].contains(uuid)
            else { return nil }
            return it
        }.first
        guard let found else {
            throw Failure(
                .unavailable, "no snapshot of the backup is here, with the UUID \(uuid)",
                at: "\(place.volume)/.escapepod/\(place.name)",
                hint: "the newest backup has one, and perhaps the one before it and the full one")
        }
        try put(found.path)
    }
}
