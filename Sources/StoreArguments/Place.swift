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

/// How long a tool waits for others.
public struct PatienceOption: ParsableArguments {
    @Option(
        help: .init(
            "The timeout for a server without progress, and for a lock that somebody else holds; default: 120.",
            valueName: "seconds"))
    public var patience: Int?

    public init() {}

    public func validate() throws {
        guard let patience, !(1...86400).contains(patience) else { return }
        throw ValidationError("--patience must be 1 to 86400 seconds, not \(patience)")
    }
}

/// The arguments that say which store a tool speaks to, about which system, and as whom.
public struct Place: ParsableArguments {
    @OptionGroup var store: StoreArgument

    @Option(help: "The name of the system that is backed up.")
    var domain: String

    @OptionGroup var options: DriverOptions

    @OptionGroup var patience: PatienceOption

    public init() {}

    /// The store, as it was given.
    public var url: String { store.url }

    /// Opens the store, for as long as `body` runs.
    ///
    /// - Parameter tool: who warns of what is tried again.
    public func open<Result>(
        for access: Access, by tool: String, _ body: (any Store, Domain) throws -> Result
    ) throws -> Result {
        let (url, domain) = (try store.parsed(), try Domain(domain))
        var settings = Settings()
        settings.options = options.given
        if let patience = patience.patience { settings.patience = Double(patience) }
        settings.notify = { warn($0, from: tool) }
        return try withStore(at: url, for: access, told: settings) { try body($0, domain) }
    }

    /// Whether the store lies on another file system than a folder: `Driver.isApart`.
    public func isApart(from folder: String) throws -> Bool {
        try store.parsed().driver.isApart(from: folder)
    }
}
