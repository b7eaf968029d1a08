import DurableFiles
import Plumbing

/// A store on the one drive of a label, `label:NAME`: where it is mounted, else mounted for this process alone and unmounted
/// again.
struct DriveDriver: Driver {
    static let schemes = ["label"]
    static let form = "label:NAME"
    static let hasFiles = true

    let label: String

    init(label: String) { self.label = label }

    init(scheme: String, rest: Substring) throws {
        guard !rest.isEmpty else { throw Failure(.usage, "not the label of a drive") }
        label = String(rest)
    }

    var description: String { "label:\(label)" }

    /// FAT writes labels in capitals, so case does not count.
    var canonical: String { "label:\(label.lowercased())" }

    func withStore<Result>(
        for access: Access, told settings: Settings, _ body: (any Store) throws -> Result
    ) throws -> Result {
        let drive = try Drive(labelled: label)
        let root =
            try drive.mountedRoot(patience: settings.patience)
            ?? PrivateMount.root(of: drive, for: access, patience: settings.patience)
        return try body(DirectoryStore(root: root, called: description))
    }

    func isApart(from path: String) throws -> Bool {
        let drive = try Drive(labelled: label)
        let below = try drive.fileSystem().andBelow(devices: drive.numbers)
        return !below.contains(try FileSystem(of: .folder(at: path)))
    }
}
