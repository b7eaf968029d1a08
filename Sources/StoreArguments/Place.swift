public import ArgumentParser
import Plumbing
public import Storage
public import StoreFormat
import Tool

/// The argument that says which store a tool speaks to.
public struct StoreArgument: ParsableArguments {
    @Argument(help: "The store: \(Drivers.standard.forms).")
    public var url: String

    public init() {}

    /// - Throws: `usage` where it is none.
    public func parsed() throws -> StoreURL { try StoreURL(url) }
}

/// The arguments that say which store a tool speaks to, about which system, and as whom.
public struct Place: ParsableArguments {
    @OptionGroup var store: StoreArgument

    @Option(help: "The name of the system that is backed up.")
    var domain: String

    @OptionGroup var options: DriverOptions

    @Option(help: .init(.init(Place.patienceHelp), valueName: "seconds"))
    var patience = 120

    /// What the option of that name is for.
    public static let patienceHelp =
        "The timeout for a server without progress, and for a lock that somebody else holds."

    public init() {}

    public func validate() throws {
        guard (1...86400).contains(patience) else {
            throw ValidationError("--patience must be 1 to 86400 seconds, not \(patience)")
        }
    }

    /// Opens the store, for as long as `body` runs.
    ///
    /// - Parameter tool: who warns of what is tried again.
    public func open<Result>(
        for access: Access, by tool: String, _ body: (any Store, Domain) throws -> Result
    ) throws -> Result {
        let (url, domain) = (try store.parsed(), try Domain(domain))
        var settings = Settings()
        settings.options = options.given
        settings.patience = Double(patience)
        settings.notify = { warn($0, from: tool) }
        return try withStore(at: url, for: access, told: settings) { try body($0, domain) }
    }

    /// Whether the store lies on another file system than a folder: `Driver.isApart`.
    public func isApart(from folder: String) throws -> Bool {
        try store.parsed().driver.isApart(from: folder)
    }
}
