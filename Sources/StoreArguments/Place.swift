public import ArgumentParser
import Plumbing
public import Storage
import Tool

/// The arguments that say which store a tool speaks to, about which system, and as whom.
public struct Place: ParsableArguments {
    @Argument(help: "The store: file:/path, label:NAME or dunesea+https://HOST:PORT.")
    var url: String

    @Option(help: "The name of the system that is backed up.")
    var domain: String

    @Option(
        help: .init(
            "A file with the token for a DuneSea server; without it the environment's DUNESEA_TOKEN.",
            valueName: "file"))
    var tokenFile: String?

    @Option(
        help: .init(
            "Certificates (PEM) to trust in a DuneSea server, in place of the system's.", valueName: "file"))
    var ca: String?

    @Option(help: .init("The public key of a DuneSea server: sha256// and base64.", valueName: "key"))
    var pin: String?

    @Flag(help: "Let the token go to another machine in the clear, by dunesea+http:.")
    var insecure = false

    @Option(
        help: .init(
            "Give up a DuneSea server after so long without progress, and a lock that somebody else has.",
            valueName: "seconds"))
    var patience = 120

    public init() {}

    public func validate() throws {
        guard (1...86400).contains(patience) else {
            throw ValidationError("--patience is 1 to 86400 seconds, not \(patience)")
        }
        if let pin, !pin.hasPrefix("sha256//") {
            throw ValidationError("--pin starts with sha256//, not as \(pin)")
        }
    }

    /// Opens the store, for as long as `body` runs.
    ///
    /// - Parameter tool: who warns of what is tried again.
    public func open<Result>(
        for access: Access, by tool: String, _ body: (any Store, Domain) throws -> Result
    ) throws -> Result {
        let (url, domain) = (try StoreURL(url), try Domain(domain))
        var remote = Remote()
        remote.tokenFile = tokenFile
        remote.authority = ca
        remote.pin = pin
        remote.isInsecure = insecure
        remote.patience = Double(patience)
        remote.notify = { warn($0, from: tool) }
        return try withStore(at: url, for: access, as: remote) { try body($0, domain) }
    }

    /// Whether the store lies on another file system than a folder: `Storage.isApart`.
    public func isApart(from folder: String) throws -> Bool {
        try Storage.isApart(StoreURL(url), from: folder)
    }
}
