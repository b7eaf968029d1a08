import Plumbing

/// A store on a DuneSea server: `dunesea+https://HOST[:PORT]`, or without TLS `dunesea+http:`.
struct DuneSeaDriver: Driver {
    static let schemes = ["dunesea+https", "dunesea+http"]
    static let form = "dunesea+https://HOST:PORT"
    static let options = [tokenFile, ca, pin, insecure]

    static let tokenFile = DriverOption(
        "token-file",
        help: "A file with the token for a DuneSea server; default: the environment's DUNESEA_TOKEN.",
        .secret(variable: "DUNESEA_TOKEN"))
    static let ca = DriverOption(
        "ca", help: "Certificates (PEM) to trust for a DuneSea server, instead of the system's.",
        .text(placeholder: "file"))
    static let pin = DriverOption(
        "pin", help: "The public key of a DuneSea server: sha256// and the base64 of its SHA-256.",
        .text(placeholder: "key")
    ) { $0.hasPrefix("sha256//") ? nil : "--pin must start with sha256//: \($0)" }
    static let insecure = DriverOption(
        "insecure", help: "Allow the token to be sent to another machine in the clear, with dunesea+http:.",
        .flag)

    let authority: Authority
    let isEncrypted: Bool

    init(scheme: String, rest: Substring) throws {
        guard rest.hasPrefix("//") else { throw Failure(.usage, "not HOST or HOST:PORT") }
        authority = try Authority(rest.dropFirst(2))
        isEncrypted = scheme == "dunesea+https"
    }

    private var scheme: String { isEncrypted ? "https" : "http" }

    var description: String { "dunesea+\(scheme)://\(authority)" }

    var canonical: String {
        "dunesea+\(scheme)://\(authority.canonical(defaultPort: isEncrypted ? 443 : 80))"
    }

    func withStore<Result>(
        for access: Access, told settings: Settings, _ body: (any Store) throws -> Result
    ) throws -> Result {
        guard isEncrypted || authority.isLoopback || settings.isSet(Self.insecure) else {
            throw Failure(
                .usage, "the token would be sent over the network in the clear", at: description,
                hint: "use dunesea+https:, or --insecure if the network path is protected by other means")
        }
        let http = try HTTP(
            "\(scheme)://\(authority)", isLocal: authority.isLoopback,
            token: settings.secret(Self.tokenFile, for: description),
            trust: HTTP.Trust(authority: settings.text(Self.ca), pin: settings.text(Self.pin)),
            stall: settings.stall)
        return try body(DuneSeaStore(http, called: description, told: settings))
    }

    /// A server is elsewhere.
    func isApart(from path: String) -> Bool { true }
}
