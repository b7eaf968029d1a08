import ArgumentParser
import Dispatch
import DuneSea
import Glibc
import Plumbing
import StoreFormat
import Tool

@main
struct Dunesea: Tool {
    static let configuration = CommandConfiguration(
        commandName: "dunesea", abstract: "Keep sealed backups for other machines.", version: version,
        subcommands: [Serve.self, Token.self, SSHKey.self, Prune.self, Check.self])
}

struct Place: ParsableArguments {
    @Option(help: "The directory that holds the store.")
    var dir = "/var/lib/dunesea"
}

struct Serve: Tool {
    static let configuration = CommandConfiguration(abstract: "Serve a directory.")

    @OptionGroup var place: Place

    @Option(help: "The address to listen on, HOST:PORT.")
    var listen = "127.0.0.1:8443"

    @Flag(help: "Serve one client on standard input and output, as a command that ssh runs.")
    var stdio = false

    @Option(help: "With --stdio: the domain that the client may ask for; default: all.")
    var domain: String?

    @Option(help: "With --stdio: what it may do there: append, read, prune, below; default: all.")
    var rights: String?

    @Option(help: "The certificate chain, PEM.")
    var tlsCert: String?

    @Option(help: "The private key of the certificate, PEM.")
    var tlsKey: String?

    @Flag(help: "Without TLS, allow addresses other than loopback.")
    var insecure = false

    @Option(help: "The address to serve metrics on, HOST:PORT.")
    var metrics: String?

    @Option(help: "The maximum number of bytes of a domain, such as 500G.")
    var domainBytes: Size?

    @Option(help: "The maximum size of an upload.")
    var uploadBytes: Size?

    @Option(help: "The maximum number of unfinished uploads of a domain.")
    var uploads = 8

    @Option(help: "Remove an unfinished upload after this time without new bytes, such as 90m.")
    var uploadAge = Span(seconds: 24 * 3600)

    @Option(help: "Whoever asks, keep what came in within this time, and what that builds on; or 0.")
    var keepAtLeast = Span(seconds: 30 * 86400)

    @Option(help: "At most this share of what may go leaves a domain in a day, such as 25%.")
    var pruneShare = Share(percent: 25)

    @Option(help: "Remove for good what has been in the trash for this time, 24h or more.")
    var trashAge = Span(seconds: 7 * 86400)

    @Option(help: "The maximum number of connections.")
    var connections = 64

    @Option(
        help: .init(
            "The maximum number of connections from one address without a valid token; default: a quarter.",
            valueName: "strangers"))
    var strangers: Int?

    @Option(help: "Disconnect a client that makes no progress for this time.")
    var patience = Span(seconds: 30)

    func run() throws {
        let limits = try limits()
        allowOpenFiles()
        if stdio { return try serveClient(limits) }
        guard domain == nil, rights == nil else {
            throw Failure(
                .usage, "--domain and --rights are for --stdio", hint: "tokens have them: dunesea token add")
        }
        let endpoint = try self.endpoint(listen)
        let tls = try tlsFiles()
        guard tls != nil || endpoint.isLoopback || insecure else {
            throw Failure(
                .usage, "without TLS only a loopback address is allowed", at: listen,
                hint: "give --tls-cert and --tls-key, or --insecure if TLS ends in front of the server")
        }
        let server = try Server(
            directory: place.dir, limits: limits, listen: endpoint, metrics: metrics.map(self.endpoint),
            tls: tls,
            log: { say("dunesea: \($0)") })
        try finish { try await server.run() }
    }

    private func serveClient(_ limits: Limits) throws {
        let given = rights ?? "append,read,prune"
        guard let rights = Tokens.Rights(given), !rights.isEmpty else {
            throw Failure(.usage, "not rights", at: given, hint: "append, read, prune, below, with commas")
        }
        let session = try Session(
            directory: place.dir, limits: limits, domain: domain.map { try Domain($0) }, rights: rights,
            log: { say("dunesea: \($0)") })
        try finish { try await session.run(from: STDIN_FILENO, to: STDOUT_FILENO) }
    }

    private func limits() throws -> Limits {
        let strangers = strangers ?? max(1, connections / 4)
        guard uploads > 0, connections > 0, strangers > 0, uploadAge.seconds > 0, patience.seconds > 0 else {
            throw Failure(.usage, "a limit must not be 0")
        }
        guard trashAge.seconds >= 86400 else {
            throw Failure(
                .usage, "what goes stays in the trash for 24h at least",
                hint: "dunesea prune --trash-age 0 removes it at once")
        }
        var limits = Limits()
        limits.domainBytes = domainBytes?.bytes
        limits.uploadBytes = uploadBytes?.bytes
        limits.uploads = uploads
        limits.uploadAge = uploadAge.seconds
        limits.connections = connections
        limits.strangers = strangers
        limits.patience = patience.seconds
        limits.pruning.keepAtLeast = keepAtLeast.seconds
        limits.pruning.share = pruneShare.percent
        limits.pruning.trashAge = trashAge.seconds
        return limits
    }

    /// As many as the system lets it have: each unfinished upload takes one.
    private func allowOpenFiles() {
        let openFiles = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        var limit = rlimit()
        guard getrlimit(openFiles, &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        _ = setrlimit(openFiles, &limit)
    }

    private func endpoint(_ text: String) throws -> Endpoint {
        guard let endpoint = Endpoint(text) else { throw Failure(.usage, "not HOST:PORT", at: text) }
        return endpoint
    }

    private func tlsFiles() throws -> Server.TLS? {
        switch (tlsCert, tlsKey) {
        case (nil, nil): return nil
        case (let certificate?, let key?): return .init(certificate: certificate, key: key)
        default: throw Failure(.usage, "--tls-cert and --tls-key must be given together")
        }
    }

    /// Waits here, on the main thread, for what runs on others.
    private func finish(_ work: @escaping @Sendable () async throws -> Void) throws {
        let done = DispatchSemaphore(value: 0)
        let outcome = Outcome()
        Task {
            do { try await work() } catch { outcome.error = error }
            done.signal()
        }
        done.wait()
        if let error = outcome.error { throw error }
    }

    /// Written before the signal, read after it.
    private final class Outcome: @unchecked Sendable {
        var error: (any Error)?
    }
}

struct SSHKey: Tool {
    static let configuration = CommandConfiguration(
        commandName: "ssh-key",
        abstract: "Print the line for authorized_keys that lets a key do this alone.",
        usage: "dunesea ssh-key [--dir DIR] [--append] [--read] [--prune] [--below] DOMAIN < id.pub",
        discussion: "The key gets no shell, no forwarding, and no other domain.")

    @OptionGroup var place: Place

    @OptionGroup var granted: GrantedRights

    @Argument(help: "The domain that the key opens.")
    var domain: String

    func run() throws {
        let domain = try Domain(domain)
        let rights = try granted.rights()
        let input = Descriptor.standardInput
        let text = String(decoding: try input.readAll(limit: 64 << 10), as: UTF8.self)
        let lines = text.split(whereSeparator: \.isNewline).filter { !$0.hasPrefix("#") }
        // Without options of its own in front, and nothing that a terminal or a shell would do more with.
        let words = lines.first.map { $0.split(separator: " ") } ?? []
        guard lines.count == 1, words.count >= 2, let kind = words.first,
            kind.hasPrefix("ssh-") || kind.hasPrefix("ecdsa-") || kind.hasPrefix("sk-"),
            words[1].hasPrefix("AAAA"), lines[0].utf8.allSatisfy({ (0x20...0x7e).contains($0) })
        else {
            throw Failure(
                .badData, "not one public key of ssh", at: input.name, hint: "such as ~/.ssh/id_ed25519.pub")
        }
        // In quotation marks, which ssh takes apart, then words of a shell.
        guard place.dir.hasPrefix("/"), place.dir.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7f }),
            !place.dir.contains(where: { "\"'\\$`;&|<>()*?[#~".contains($0) })
        else {
            throw Failure(
                .usage, "not a directory that authorized_keys can have", at: place.dir,
                hint: "an absolute path without blanks and what a shell would do more with")
        }
        let command =
            "dunesea serve --stdio --dir \(place.dir) --domain \(domain) --rights \(rights)"
        try put("restrict,command=\"\(command)\" \(lines[0])")
    }
}

/// What a token or a key may do.
struct GrantedRights: ParsableArguments {
    @Flag(help: "It may store backups.")
    var append = false

    @Flag(help: "It may get backups.")
    var read = false

    @Flag(help: "It may let go of backups, as far as the server's rules go.")
    var prune = false

    @Flag(help: "It opens the domains below that one, too, as a whole system needs them.")
    var below = false

    /// - Throws: `usage` where it may do nothing.
    func rights() throws -> Tokens.Rights {
        guard append || read || prune else {
            throw Failure(.usage, "give --append, --read, --prune, or several of them")
        }
        let given: [(Bool, Tokens.Rights)] = [
            (append, .append), (read, .read), (prune, .prune), (below, .below),
        ]
        return given.filter(\.0).reduce(into: []) { $0.insert($1.1) }
    }
}

struct Token: Tool {
    static let configuration = CommandConfiguration(
        abstract: "Manage the tokens: who may do what.", subcommands: [Add.self, List.self, Remove.self])

    struct Add: Tool {
        static let configuration = CommandConfiguration(
            abstract: "Create a token, and print it this one time.")

        @OptionGroup var place: Place

        @OptionGroup var granted: GrantedRights

        @Argument(help: "The domain that the token opens.")
        var domain: String

        func run() throws {
            try put(Tokens.add(Domain(domain), granted.rights(), in: place.dir))
        }
    }

    struct List: Tool {
        static let configuration = CommandConfiguration(
            abstract: "List the tokens: id, domain, rights, date.")

        @OptionGroup var place: Place

        func run() throws {
            for token in try Tokens(in: place.dir).entries {
                try put("\(token.id) \(token.domain) \(token.rights) \(token.created)")
            }
        }
    }

    struct Remove: Tool {
        static let configuration = CommandConfiguration(abstract: "Revoke a token.")

        @OptionGroup var place: Place

        @Argument(help: "The id, as shown by list.")
        var id: String

        func run() throws {
            try Tokens.remove(id, in: place.dir)
        }
    }
}

struct Prune: Tool {
    static let configuration = CommandConfiguration(
        abstract: "Move old blobs of a domain to the trash, whatever its owner keeps.",
        discussion: "It needs no key, and may run beside a server.")

    @OptionGroup var place: Place

    @Option(help: "Keep what came in within this time, and what that builds on.")
    var keepAtLeast: Span?

    @Option(help: "Then remove for good what has been in the trash for this time; or 0, all of it.")
    var trashAge: Span?

    @Flag(help: "Only say what would go.")
    var dryRun = false

    @Flag(help: "Instead, bring back all that is in the trash.")
    var undo = false

    @Argument(help: "The domain.")
    var domain: String

    func validate() throws {
        guard !undo || keepAtLeast == nil && trashAge == nil && !dryRun else {
            throw ValidationError("--undo stands alone")
        }
        guard undo || keepAtLeast != nil || trashAge != nil else {
            throw ValidationError("give --keep-at-least, --trash-age, or --undo")
        }
        guard !dryRun || keepAtLeast != nil else { throw ValidationError("--dry-run needs --keep-at-least") }
    }

    func run() throws {
        let pruning = try OperatorPruning(of: Domain(domain), in: place.dir)
        if undo {
            let back = try pruning.recover()
            return try put("\(said(back)) came back from the trash")
        }
        if let age = keepAtLeast {
            let gone = try pruning.discard(keepingAtLeast: age.seconds, isRehearsal: dryRun)
            try put("\(said(gone)) \(dryRun ? "would go" : "went") to the trash")
        }
        guard let age = trashAge, !dryRun else { return }
        guard let freed = try pruning.emptyTrash(olderThan: age.seconds) else {
            return try put("the server that is running empties the trash within a minute")
        }
        try put("\(readable(bytes: freed)) are free again")
    }

    private func said(_ outcome: OperatorPruning.Outcome) -> String {
        "\(count(Int64(outcome.blobs), "blob")), \(readable(bytes: outcome.bytes)),"
    }
}

struct Check: Tool {
    static let configuration = CommandConfiguration(
        abstract: "Verify every blob and key against its address.")

    @OptionGroup var place: Place

    func run() throws {
        let check = DuneSea.Check(directory: place.dir) { say("dunesea: \($0)") }
        try check.run()
        try put(
            "\(check.blobs) blobs, \(check.bytes) bytes, \(check.backups) backups, \(check.pruned) of them pruned, \(check.keys) keys, \(check.faults) faults"
        )
        guard check.faults == 0 else {
            throw Failure(
                .badData, "faults found", at: place.dir,
                hint:
                    "restore the named files from another copy of the store; what stays damaged breaks its chain"
            )
        }
    }
}

/// A count of bytes with a binary unit: `4096`, `64K`, `500G`.
struct Size: ExpressibleByArgument {
    let bytes: UInt64

    init?(argument: String) {
        let units: [Character: UInt64] = ["K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40]
        let unit = argument.last.flatMap { units[$0] }
        guard let count = UInt64(unit == nil ? argument[...] : argument.dropLast()) else { return nil }
        let (bytes, overflow) = count.multipliedReportingOverflow(by: unit ?? 1)
        guard !overflow, bytes > 0 else { return nil }
        self.bytes = bytes
    }
}

/// A share: `25%`.
struct Share: ExpressibleByArgument {
    let percent: UInt64

    init(percent: UInt64) { self.percent = percent }

    init?(argument: String) {
        guard argument.last == "%", let percent = UInt64(argument.dropLast()), (1...100).contains(percent)
        else { return nil }
        self.percent = percent
    }

    var defaultValueDescription: String { "\(percent)%" }
}

/// A time: `90s`, `15m`, `24h`, `7d`; or `0`.
struct Span: ExpressibleByArgument {
    let seconds: Int64

    init(seconds: Int64) { self.seconds = seconds }

    init?(argument: String) {
        let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600, "d": 86400]
        guard argument != "0" else {
            seconds = 0
            return
        }
        guard let unit = argument.last.flatMap({ units[$0] }), let count = Int64(argument.dropLast()),
            count > 0, count < 1_000_000
        else { return nil }
        seconds = count * unit
    }

    var defaultValueDescription: String {
        switch seconds {
        case let days where days % 86400 == 0 && days > 86400: "\(days / 86400)d"
        case let hours where hours % 3600 == 0: "\(hours / 3600)h"
        default: "\(seconds)s"
        }
    }
}
