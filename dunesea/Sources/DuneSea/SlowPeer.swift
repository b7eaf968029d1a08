import CLinux
import Glibc
import HTTPTypes
import NIOCore
import NIOHTTPTypes

/// Closes a connection whose client does not move: one that sends or takes fewer than `rate` bytes a second in the time in
/// which it was its turn, a request's head included. Time in which the server works does not count. What moved, the kernel
/// knows best: of a piece that is on its way out nothing else tells how much the client has taken.
///
/// It also ends, a moment later, a connection whose answer said `Connection: close` while the client was still sending, so
/// that the client can read why.
final class SlowPeer: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    static let rate: Int64 = 1024
    static let linger: TimeAmount = .seconds(2)

    private let patience: TimeAmount
    private let wasCut: @Sendable () -> Void
    private var tick: RepeatedTask?

    private var reading = false
    /// The request has not come whole yet.
    private var requestOpen = false
    /// The answer has not been said whole yet.
    private var answerOpen = false
    private var unwritten = 0
    private var closing = false

    private var turnBegan: NIODeadline?
    private var turns: TimeAmount = .zero
    private var heads: Int64 = 0
    /// Bytes that had crossed the connection at the last judgement.
    private var crossed: UInt64 = 0

    init(patience: TimeAmount, wasCut: @escaping @Sendable () -> Void) {
        self.patience = patience
        self.wasCut = wasCut
    }

    func handlerAdded(context: ChannelHandlerContext) {
        // What is read ahead of the application is counted in parts; with TLS all that one round reads becomes one part.
        try? context.channel.syncOptions?.setOption(.maxMessagesPerRead, value: 1)
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        tick = context.eventLoop.scheduleRepeatedTask(initialDelay: patience, delay: patience) { _ in
            let (handler, context) = bound.value
            handler.judge(context)
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        tick?.cancel()
        tick = nil
    }

    private func judge(_ context: ChannelHandlerContext) {
        settle()
        guard let socket = context.channel as? any SocketOptionProvider else { return }
        let traffic: EventLoopFuture<linux_tcp_traffic> = socket.unsafeGetSocketOption(
            level: .tcp, name: NIOBSDSocket.Option(rawValue: TCP_INFO))
        traffic.assumeIsolated().whenSuccess { traffic in
            let now = traffic.acknowledged + traffic.received
            let moved = Int64(clamping: now - self.crossed) + self.heads * SlowPeer.rate
            let owed = self.turns.nanoseconds / 1_000_000_000 * SlowPeer.rate
            if self.turns >= .nanoseconds(self.patience.nanoseconds / 2), moved < max(1, owed) {
                self.wasCut()
                context.close(promise: nil)
            }
            self.turns = .zero
            self.heads = 0
            self.crossed = now
        }
    }

    /// Whether the server can do nothing but wait for the client.
    private var isClientsTurn: Bool { unwritten > 0 || (reading && (requestOpen || !answerOpen)) }

    /// Adds up the client's time so far.
    private func settle() {
        let now = NIODeadline.now()
        if let turnBegan { turns = turns + (now - turnBegan) }
        turnBegan = isClientsTurn ? now : nil
    }

    // MARK: the client sends

    func read(context: ChannelHandlerContext) {
        reading = true
        settle()
        context.read()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head:
            heads += 1
            requestOpen = true
            answerOpen = true
        case .body: break
        case .end: requestOpen = false
        }
        context.fireChannelRead(data)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        reading = false
        settle()
        context.fireChannelReadComplete()
    }

    // MARK: the client takes

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch unwrapOutboundIn(data) {
        case .head(let head):
            closing = head.headerFields[.connection] == "close"
            context.write(data, promise: promise)
        case .body(let bytes):
            context.write(data, promise: writing(bytes.readableBytes, promise, context))
        case .end:
            if closing { linger(context) }
            answerOpen = false
            settle()
            context.write(data, promise: promise)
        }
    }

    func triggerUserOutboundEvent(
        context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?
    ) {
        let piece = event as? BodyPiece
        context.triggerUserOutboundEvent(
            event, promise: piece.map { writing($0.data.readableBytes, promise, context) } ?? promise)
    }

    private func writing(
        _ count: Int, _ promise: EventLoopPromise<Void>?, _ context: ChannelHandlerContext
    ) -> EventLoopPromise<Void> {
        unwritten += count
        settle()
        let promise = promise ?? context.eventLoop.makePromise()
        promise.futureResult.assumeIsolated().whenComplete { _ in
            self.unwritten -= count
            self.settle()
        }
        return promise
    }

    private func linger(_ context: ChannelHandlerContext) {
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        context.eventLoop.scheduleTask(in: SlowPeer.linger) { bound.value.close(promise: nil) }
    }
}
