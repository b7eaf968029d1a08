import HTTPTypes
import NIOCore
import NIOEmbedded
import NIOHTTPTypes
import Synchronization
import Testing

@testable import DuneSea

/// Counts how often the socket would be read.
private final class Reads: ChannelOutboundHandler, Sendable {
    typealias OutboundIn = Never

    private let number = Atomic(0)
    var count: Int { number.load(ordering: .relaxed) }

    func read(context: ChannelHandlerContext) { number.add(1, ordering: .relaxed) }
}

@Suite struct InflowTests {
    private let reads = Reads()
    private let inflow = Inflow()
    private let channel: NIOAsyncTestingChannel

    init() async throws {
        channel = try await NIOAsyncTestingChannel(handlers: [reads, inflow])
    }

    private func come(_ parts: HTTPRequestPart...) async throws {
        for part in parts { try await channel.writeInbound(part) }
    }

    private func head(_ method: HTTPRequest.Method) -> HTTPRequestPart {
        .head(HTTPRequest(method: method, scheme: nil, authority: nil, path: "/"))
    }

    private func answer(_ status: HTTPResponse.Status) async throws {
        try await channel.writeAndFlush(HTTPResponsePart.head(HTTPResponse(status: status)))
    }

    /// What went on to whoever takes requests.
    private func passed() async throws -> [HTTPRequestPart] {
        var all: [HTTPRequestPart] = []
        while let part = try await channel.readInbound(as: HTTPRequestPart.self) { all.append(part) }
        return all
    }

    /// Asks for a read, and says whether the socket was read.
    private func readsOn() async throws -> Bool {
        let before = reads.count
        channel.read()
        try await channel.testingEventLoop.executeInContext {}
        return reads.count > before
    }

    private func bytes(_ count: Int, _ byte: UInt8 = 7) -> ByteBuffer {
        ByteBuffer(repeating: byte, count: count)
    }

    @Test func largePartsStayAndSmallOnesAreGathered() async throws {
        let large = bytes(100_000)
        try await come(head(.patch), .body(large))
        for byte in 0..<200 { try await come(.body(bytes(1, UInt8(byte)))) }
        try await come(.body(large), .end(nil))
        let piece = try await inflow.next()
        #expect(piece == [large, ByteBuffer(bytes: 0..<200), large])
        #expect(try await inflow.next() == nil)
        let passed = try await passed()
        #expect(passed == [head(.patch), .end(nil)])
    }

    @Test func theSocketIsReadForOnePieceAhead() async throws {
        try await come(head(.patch), .body(bytes(Inflow.piece - 1)))
        #expect(try await readsOn())
        try await come(.body(bytes(1)))
        #expect(try await readsOn() == false)
        let before = reads.count
        #expect(try await inflow.next()?.count == 2)
        try await channel.testingEventLoop.executeInContext {}
        #expect(reads.count == before + 1)
        #expect(try await readsOn())
    }

    @Test func whatCameBeforeACutIsKept() async throws {
        try await come(head(.patch), .body(bytes(1000)))
        try await channel.testingEventLoop.executeInContext {
            channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
        }
        #expect(try await inflow.next() == [bytes(1000)])
        await #expect(throws: ChannelError.self) { try await inflow.next() }
    }

    @Test func aClientThatDoesNotWaitForAnswersGetsThemInOrder() async throws {
        try await come(head(.put), .body(bytes(9)), .end(nil), head(.patch), .body(bytes(10)), .end(nil))
        try await come(head(.patch), .body(bytes(20)), .end(nil), head(.get), .end(nil))
        var passed = try await passed()
        #expect(passed == [head(.put), .body(bytes(9)), .end(nil), head(.patch), .end(nil)])
        try await answer(.created)
        #expect(try await inflow.next() == [bytes(10)])
        #expect(try await inflow.next() == nil)
        #expect(try await readsOn() == false)
        try await answer(.continue)
        try await answer(.noContent)
        passed = try await self.passed()
        #expect(passed == [head(.patch), .end(nil)])
        #expect(try await inflow.next() == [bytes(20)])
        try await answer(.noContent)
        passed = try await self.passed()
        #expect(passed == [head(.get), .end(nil)])
        #expect(try await readsOn())
    }

    @Test func theRestOfARefusedBodyPassesBy() async throws {
        try await come(head(.patch), .body(bytes(Inflow.piece)))
        #expect(try await readsOn() == false)
        let before = reads.count
        try await answer(.conflict)
        #expect(reads.count == before + 1)
        try await come(.body(bytes(3)), .end(nil), head(.patch), .body(bytes(4)), .end(nil))
        let passed = try await passed()
        #expect(passed == [head(.patch), .body(bytes(3)), .end(nil), head(.patch), .end(nil)])
        #expect(try await inflow.next() == [bytes(4)])
    }
}
