import HTTPTypes
import NIOCore
import NIOHTTPTypes

/// Closes a connection whose client does not move: one that sends or takes fewer than `rate` bytes a second in the time in
/// which it was its turn, a request's head included. Time in which the server works does not count.
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
    private var moved: Int64 = 0

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
        let owed = turns.nanoseconds / 1_000_000_000 * SlowPeer.rate
        if turns >= .nanoseconds(patience.nanoseconds / 2), moved < max(1, owed) {
            wasCut()
            context.close(promise: nil)
        }
        turns = .zero
        moved = 0
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
            moved += SlowPeer.rate
            requestOpen = true
            answerOpen = true
        case .body(let bytes): moved += Int64(bytes.readableBytes)
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
            let count = bytes.readableBytes
            unwritten += count
            settle()
            let promise = promise ?? context.eventLoop.makePromise()
            let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
            promise.futureResult.whenComplete { _ in bound.value.wrote(count) }
            context.write(data, promise: promise)
        case .end:
            if closing { linger(context) }
            answerOpen = false
            settle()
            context.write(data, promise: promise)
        }
    }

    private func wrote(_ count: Int) {
        unwritten -= count
        moved += Int64(count)
        settle()
    }

    private func linger(_ context: ChannelHandlerContext) {
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        context.eventLoop.scheduleTask(in: SlowPeer.linger) { bound.value.close(promise: nil) }
    }
}
