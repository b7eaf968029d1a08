import HTTPTypes
import NIOCore
import NIOHTTPTypes
import Synchronization

/// The body of an upload's request on its way in: pieces for the disk, one of which is gathered while the one before is written.
///
/// What the socket was read into goes to the disk as it is. The task that writes is woken once for each piece, and the socket
/// is read no further than for the next one: that is the back-pressure.
final class Inflow: ChannelDuplexHandler, RemovableChannelHandler, Sendable {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    /// Bytes of a piece; one read of the socket may exceed it.
    static let piece = 256 << 10
    /// Bytes for which the socket is read at once, when the request is known to be of somebody with a token.
    private static let read = 512 << 10

    private let state = Mutex(State())

    // MARK: The request's task

    /// The next bytes of the body: a piece, or the last ones; nil at its end.
    ///
    /// - Throws: what cut the body off, behind all that came of it.
    func next() async throws -> [ByteBuffer]? {
        await withCheckedContinuation { taker in
            let isReady = state.withLock { state in
                if !state.isReady { state.taker = taker }
                return state.isReady
            }
            if isReady { taker.resume() }
        }
        let (parts, end, context) = state.withLock { state in
            (state.takeParts(), state.end, state.isHeld || !state.readsMuch ? state.context : nil)
        }
        if let context {
            context.eventLoop.execute { self.goOn(context.value) }
        }
        if parts.isEmpty { try end?.get() }
        return parts.isEmpty ? nil : parts
    }

    // MARK: The socket's thread

    func handlerAdded(context: ChannelHandlerContext) {
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        state.withLock { $0.context = bound }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        cut(ChannelError.eof)
        state.withLock { $0.context = nil }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let part = unwrapInboundIn(data)
        let (isMine, taker) = state.withLock { ($0.add(part), $0.woken()) }
        taker?.resume()
        if !isMine { context.fireChannelRead(data) }
    }

    func read(context: ChannelHandlerContext) {
        let isHeld = state.withLock { state in
            state.isHeld = state.isOpen && state.isReady
            return state.isHeld
        }
        if !isHeld { context.read() }
    }

    private func goOn(_ context: ChannelHandlerContext) {
        let (isHeld, isNew) = state.withLock { state in
            // It may have been removed meanwhile.
            guard state.context != nil else { return (false, false) }
            defer { state.readsMuch = state.isOpen }
            return (state.isHeld, state.isOpen && !state.readsMuch)
        }
        if isNew {
            try? context.channel.syncOptions?.setOption(
                .recvAllocator,
                value: AdaptiveRecvByteBufferAllocator(
                    minimum: 1024, initial: Inflow.read, maximum: Inflow.read))
        }
        if isHeld { read(context: context) }
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        context.write(data, promise: promise)
        guard case .head(let head) = unwrapOutboundIn(data), head.status.kind != .informational else {
            return
        }
        let (behind, readMuch) = state.withLock { $0.answer() }
        if readMuch {
            try? context.channel.syncOptions?.setOption(
                .recvAllocator, value: AdaptiveRecvByteBufferAllocator())
        }
        for part in behind { channelRead(context: context, data: wrapInboundOut(part)) }
        if !behind.isEmpty { context.fireChannelReadComplete() }
        goOn(context)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        cut(error)
        context.fireErrorCaught(error)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event as? ChannelEvent == .inputClosed { cut(ChannelError.eof) }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        cut(ChannelError.eof)
        context.fireChannelInactive()
    }

    private func cut(_ error: any Error) {
        let taker = state.withLock { state in
            if state.isOpen, state.end == nil { state.end = .failure(error) }
            return state.woken()
        }
        taker?.resume()
    }
}

private struct State {
    var context: NIOLoopBound<ChannelHandlerContext>?
    /// An upload's request has begun, and has had no answer.
    private(set) var isOpen = false
    /// Requests before it that have had none: their client did not wait for it.
    private var unanswered = 0
    var parts: [ByteBuffer] = []
    private var count = 0
    /// The last of the parts is one that small ones are copied into.
    private var isGathering = false
    /// How the body ended; nil where it has not.
    var end: Result<Void, any Error>?
    /// What came behind it: the next request, of a client that does not wait for the answer.
    private var behind: [HTTPRequestPart] = []
    /// The next read of the socket is put off.
    var isHeld = false
    var readsMuch = false
    /// The task, where it waits.
    var taker: CheckedContinuation<Void, Never>?

    /// A part with fewer bytes is copied: it may be one of very many, or keep a large buffer.
    private static let small = 16 << 10

    /// The task has what it waits for; the socket is not read meanwhile.
    var isReady: Bool { count >= Inflow.piece || end != nil }

    /// Takes a part of a request, and says whether nobody else is to have it.
    mutating func add(_ part: HTTPRequestPart) -> Bool {
        if isOpen, end != nil {
            behind.append(part)
            return true
        }
        switch part {
        case .head(let head):
            isOpen = head.method == .patch
            if !isOpen { unanswered += 1 }
            return false
        case .body(let bytes):
            if isOpen { add(bytes) }
            return isOpen
        case .end:
            if isOpen { end = .success(()) }
            return false
        }
    }

    private mutating func add(_ bytes: ByteBuffer) {
        count += bytes.readableBytes
        guard bytes.readableBytes < State.small else {
            parts.append(bytes)
            isGathering = false
            return
        }
        if !isGathering || (parts.last?.readableBytes ?? 0) >= 4 * State.small { parts.append(ByteBuffer()) }
        isGathering = true
        parts[parts.count - 1].writeImmutableBuffer(bytes)
    }

    mutating func takeParts() -> [ByteBuffer] {
        defer { (parts, count, isGathering) = ([], 0, false) }
        return parts
    }

    /// The task, if it is to go on.
    mutating func woken() -> CheckedContinuation<Void, Never>? {
        guard isReady else { return nil }
        defer { taker = nil }
        return taker
    }

    /// A request has its answer. What comes yet of an upload's body is not the task's any more.
    ///
    /// - Returns: what came behind the body, and whether it was read much at a time.
    mutating func answer() -> ([HTTPRequestPart], Bool) {
        guard unanswered == 0 else {
            unanswered -= 1
            return ([], false)
        }
        defer { (isOpen, end, behind, readsMuch) = (false, nil, [], false) }
        _ = takeParts()
        return (behind, readsMuch)
    }
}
