import HTTPTypes
import Hummingbird
import HummingbirdCore
import HummingbirdTLS
import Logging
import NIOCore
import NIOPosix
import NIOSSL
import Plumbing
import ServiceLifecycle
import UnixSignals

/// Where to listen: `HOST:PORT`, an IPv6 address in brackets.
public struct Endpoint: Sendable, CustomStringConvertible {
    public let host: String
    public let port: Int

    public init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else {
            return nil
        }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
        } else if host.contains(":") {
            return nil
        }
        guard !host.isEmpty else { return nil }
        self.host = String(host)
        self.port = Int(port)
    }

    public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

    /// Whether only this machine can reach it.
    public var isLoopback: Bool {
        if host == "localhost" || host == "::1" { return true }
        let parts = host.split(separator: ".", omittingEmptySubsequences: false).map { UInt8($0) }
        return parts.count == 4 && parts[0] == 127 && !parts.contains(nil)
    }
}

/// The server as a whole: two listeners and the expiry of uploads.
public struct Server: Sendable {
    public struct TLS: Sendable {
        let certificate: String
        let key: String

        /// Two PEM files: the chain, the server's own certificate first, and its key.
        public init(certificate: String, key: String) {
            self.certificate = certificate
            self.key = key
        }
    }

    private let api: API
    private let listen: Endpoint
    private let metricsListen: Endpoint?
    private let tls: TLSConfiguration?

    /// Reads the store and the certificate. Blocks.
    ///
    /// - Parameter log: takes a line a request, and faults.
    public init(
        directory: String, limits: Limits, listen: Endpoint, metrics: Endpoint?, tls: TLS?,
        log: @escaping @Sendable (String) -> Void
    ) throws {
        let threads = NIOThreadPool(numberOfThreads: 8)
        threads.start()
        api = API(
            store: try Store(directory: directory, limits: limits, threads: threads),
            door: .tokens(try TokenCache(directory: directory)), metrics: Metrics(),
            strangers: Strangers(most: limits.strangers), plain: tls == nil, log: log)
        self.listen = listen
        self.metricsListen = metrics
        self.tls = try tls.map(Server.configuration)
    }

    private static func configuration(_ tls: TLS) throws -> TLSConfiguration {
        func read<Value>(_ path: String, _ read: () throws -> Value) throws -> Value {
            do {
                return try read()
            } catch {
                throw Failure(.badData, "not a valid PEM file", at: path)
            }
        }
        let chain = try read(tls.certificate) { try NIOSSLCertificate.fromPEMFile(tls.certificate) }
        let key = try read(tls.key) { try NIOSSLPrivateKey(file: tls.key, format: .pem) }
        return .makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
    }

    /// Serves until SIGTERM or SIGINT; then lets the requests that run end, for a minute at most.
    public func run() async throws {
        var logger = Logger(label: "dunesea") { _ in SwiftLogNoOpLogHandler() }
        logger.logLevel = .critical
        let limits = api.store.ground.limits
        let metrics = api.metrics
        let strangers = api.strangers
        var http = HTTP1Channel.Configuration(
            additionalChannelHandlers: [
                Doorway(strangers) { metrics.turnedAway() },
                BodyPieces(),
                SlowPeer(patience: .seconds(limits.patience)) { metrics.cut() },
                Inflow(),
            ])
        http.httpDecoder = .ofRequests
        let plain = HTTPServerBuilder.http1(configuration: http)
        let log = api.log
        var services: [any Service] = [
            Application(
                responder: api, server: try tls.map { try .tls(plain, tlsConfiguration: $0) } ?? plain,
                configuration: .init(
                    address: .hostname(listen.host, port: listen.port),
                    availableConnectionsDelegate: MaximumAvailableConnections(limits.connections)),
                onServerRunning: { channel in
                    // Otherwise several are taken at a time, and with them more than the maximum.
                    try? await channel.setOption(.maxMessagesPerRead, value: 1).get()
                    log("listening on \(listen.host) port \(channel.localAddress?.port ?? 0)")
                },
                logger: logger),
            UploadExpiry(store: api.store, log: api.log),
        ]
        if let metricsListen {
            let store = api.store
            services.append(
                Application(
                    responder: CallbackResponder<Connection> { request, _ in
                        guard request.uri.path == "/metrics", request.method == .get else {
                            return Response(status: .notFound)
                        }
                        return Response(
                            status: .ok, headers: [.contentType: "text/plain; version=0.0.4"],
                            body: .init(byteBuffer: ByteBuffer(string: metrics.text(of: store))))
                    },
                    server: plain,
                    configuration: .init(
                        address: .hostname(metricsListen.host, port: metricsListen.port),
                        availableConnectionsDelegate: MaximumAvailableConnections(8)),
                    onServerRunning: {
                        log("metrics on \(metricsListen.host) port \($0.localAddress?.port ?? 0)")
                    },
                    logger: logger))
        }
        var configuration = ServiceGroupConfiguration(
            services: services, gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
        configuration.maximumGracefulShutdownDuration = .seconds(60)
        do {
            try await ServiceGroup(configuration: configuration).run()
        } catch let error as IOError {
            throw Failure.system("cannot listen", at: "\(listen)", errno: error.errnoCode)
        }
        log("stopped")
    }
}

extension HTTP1Channel.Configuration.DecoderConfiguration {
    /// What a request may have in front of its body.
    static let ofRequests = Self(
        maxHeaderFieldSize: 8 << 10, maxHeaderListSize: 16 << 10, maxHeaderFieldCount: 100)
}

/// Removes unfinished uploads for their age, and what is in the trash.
private struct UploadExpiry: Service {
    let store: Store
    let log: @Sendable (String) -> Void

    func run() async throws {
        try? await cancelWhenGracefulShutdown {
            while true {
                try await store.removeStale { log("error: \($0.what): \($0.place ?? "")") }
                try await Task.sleep(for: .seconds(min(60, max(1, store.ground.limits.uploadAge / 4))))
            }
        }
    }
}
