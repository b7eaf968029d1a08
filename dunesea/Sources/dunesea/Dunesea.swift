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
        subcommands: [Serve.self, Token.self, Prune.self, Check.self])
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
        let endpoint = try self.endpoint(listen)
        let tls = try tlsFiles()
        guard tls != nil || endpoint.isLoopback || insecure else {
            throw Failure(
                .usage, "without TLS only a loopback address is allowed", at: listen,
                hint: "give --tls-cert and --tls-key, or --insecure if TLS ends in front of the server")
        }
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
        allowOpenFiles()
        let server = try Server(
            directory: place.dir, limits: limits, listen: endpoint, metrics: metrics.map(self.endpoint),
            tls: tls,
            log: { say("dunesea: \($0)") })
        try finish { try await server.run() }
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

struct Token: Tool {
    static let configuration = CommandConfiguration(
        abstract: "Manage the tokens: who may do what.", subcommands: [Add.self, List.self, Remove.self])

    struct Add: Tool {
        static let configuration = CommandConfiguration(
            abstract: "Create a token, and print it this one time.")

        @OptionGroup var place: Place

        @Flag(help: "The token may store backups.")
        var append = false

        @Flag(help: "The token may get backups.")
        var read = false

        @Flag(help: "The token may let go of backups, as far as the server's rules go.")
        var prune = false

        @Flag(help: "The token opens the domains below that one, too, as a whole system needs them.")
        var below = false

        @Argument(help: "The domain that the token opens.")
        var domain: String

        func run() throws {
            let domain = try Domain(domain)
            guard append || read || prune else {
                throw Failure(.usage, "give --append, --read, --prune, or several of them")
            }
            var rights: Tokens.Rights = []
            if append { rights.insert(.append) }
            if read { rights.insert(.read) }
            if prune { rights.insert(.prune) }
            if below { rights.insert(.below) }
            try put(Tokens.add(domain, rights, in: place.dir))
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
