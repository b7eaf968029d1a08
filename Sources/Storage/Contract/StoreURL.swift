import Plumbing

/// What names a store: a scheme, a colon, and what the scheme's driver makes of the rest, byte for byte.
public struct StoreURL: Equatable, Sendable, CustomStringConvertible {
    /// The store as its driver sees it.
    public let driver: any Driver

    /// - Throws: `usage`, which names the kinds that there are.
    public init(_ text: String, among drivers: Drivers = .standard) throws {
        func refuse(_ what: String) -> Failure {
            Failure(.usage, what, at: text, hint: "a store is \(drivers.forms)")
        }
        guard let colon = text.firstIndex(of: ":") else { throw refuse("not the URL of a store") }
        let scheme = String(text[..<colon])
        guard let kind = drivers.all.first(where: { $0.schemes.contains(scheme) }) else {
            throw refuse("unknown kind of store")
        }
        do {
            driver = try kind.init(scheme: scheme, rest: text[text.index(after: colon)...])
        } catch let failure as Failure where failure.status == .usage {
            throw refuse(failure.what)
        }
    }

    public var description: String { driver.description }

    public static func == (one: StoreURL, other: StoreURL) -> Bool { one.description == other.description }
}

/// One spelling of a path: no empty names and no `.`; `..` stays, as a link may lead elsewhere.
func canonical(path: String) -> String {
    "/" + path.split(separator: "/").filter { $0 != "." }.joined(separator: "/")
}

/// Opens a store, and closes it again when `body` has ended, however it ends; a drive that had to be mounted for it
/// is unmounted.
///
/// - Throws: as `Driver.withStore`.
public func withStore<Result>(
    at url: StoreURL, for access: Access, told settings: Settings = Settings(),
    _ body: (any Store) throws -> Result
) throws -> Result {
    try url.driver.withStore(for: access, told: settings, body)
}
