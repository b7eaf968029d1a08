import Plumbing

/// A store on a machine that has `dunesea` and is reached by the system's `ssh`: `ssh://[USER@]HOST[:PORT]/PATH`.
struct SSHDriver: Driver {
    static let schemes = ["ssh"]
    static let form = "ssh://USER@HOST/path"

    private let user: Substring
    private let authority: Authority
    /// Absolute, of the far machine.
    private let path: String

    init(scheme: String, rest: Substring) throws {
        let wrong = Failure(.usage, "not ssh://HOST/path, ssh://USER@HOST/path or ssh://USER@HOST:PORT/path")
        guard rest.hasPrefix("//") else { throw wrong }
        let place = rest.dropFirst(2)
        guard let slash = place.firstIndex(of: "/") else { throw wrong }
        let parts = place[..<slash].split(separator: "@", omittingEmptySubsequences: false)
        guard parts.count <= 2, let host = parts.last else { throw wrong }
        user = parts.count == 2 ? parts[0] : ""
        // What ssh would take for an option, or a shell for more than a word.
        guard
            parts.count == 1
                || !user.isEmpty && user.first != "-"
                    && user.utf8.allSatisfy { $0.isLetterOrDigit || "-._".utf8.contains($0) },
            host.first != "-"
        else { throw wrong }
        authority = try Authority(host)
        path = String(place[slash...])
        guard path.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7f }) else { throw wrong }
    }

    private var login: String { user.isEmpty ? "" : "\(user)@" }

    var description: String { "ssh://\(login)\(authority)\(path)" }

    /// A host's name is ssh's to look up, in its configuration first.
    var canonical: String {
        "ssh://\(login)\(authority.canonical(defaultPort: 22))" + Storage.canonical(path: path)
    }

    func withStore<Result>(
        for access: Access, told settings: Settings, _ body: (any Store) throws -> Result
    ) throws -> Result {
        let connection = try SSHConnection(
            to: login + authority.name, port: authority.number, directory: path, called: description)
        let http = try HTTP(
            "http://127.0.0.1:\(connection.localPort)", isLocal: true, token: nil, stall: settings.stall,
            dialer: connection)
        return try body(DuneSeaStore(http, called: description, told: settings))
    }

    /// It is elsewhere, or it is this machine by another way: nobody can tell from here.
    func isApart(from path: String) throws -> Bool { true }
}
