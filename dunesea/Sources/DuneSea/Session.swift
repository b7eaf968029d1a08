import HTTPTypes
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOPosix
import Plumbing
public import StoreFormat

/// One client on two pipes, as a command that `ssh` runs: the same requests as over a network, and nobody else's.
///
/// Several of them may serve a directory at the same time, each a process of its own; a server that listens there excludes them.
public struct Session: Sendable {
    private let api: API

    /// Blocks.
    ///
    /// - Parameters:
    ///   - domain: the one that it opens, with those below where the rights say so; nil for all of them.
    ///   - log: takes a line for each fault.
    /// - Throws: `busy` where a server has the directory.
    public init(
        directory: String, limits: Limits, domain: Domain?, rights: Tokens.Rights,
        log: @escaping @Sendable (String) -> Void
    ) throws {
        let threads = NIOThreadPool(numberOfThreads: 4)
        threads.start()
        api = API(
            store: try Store(directory: directory, isShared: true, limits: limits, threads: threads),
            door: .client(domain, rights), metrics: Metrics(), strangers: Strangers(most: 1), plain: false,
            log: { if $0.hasPrefix("error: ") { log($0) } })
    }

    /// Serves until the client has closed its end.
    ///
    /// - Parameters:
    ///   - input: a pipe or a socket, which is closed in the end, as is the other one.
    /// - Throws: `io` where what is too old cannot be removed.
    public func run(from input: CInt, to output: CInt) async throws {
        var logger = Logger(label: "dunesea") { _ in SwiftLogNoOpLogHandler() }
        logger.logLevel = .critical
        let (quiet, api) = (logger, api)
        let limits = api.store.ground.limits
        var configuration = HTTP1Channel.Configuration(
            additionalChannelHandlers: [
                BodyPieces(), SlowPeer(patience: .seconds(limits.patience)) {}, Inflow(),
            ])
        configuration.httpDecoder = .ofRequests
        let http = HTTP1Channel(
            responder: { request, writer, channel in
                let context = Connection(source: .init(channel: channel, logger: quiet))
                let response = try await api.respond(to: request, context: context)
                try await writer.write(response: response.head, body: response.body)
            }, configuration: configuration)
        let value = try await NIOPipeBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .takingOwnershipOfDescriptors(input: input, output: output) { channel in
                http.setup(channel: channel, logger: quiet)
            }
        await http.handle(value: value, logger: quiet)
        try await api.store.removeStale { api.fault($0) }
    }
}
