import Envelope
import Glibc
import Plumbing
import Testing

@testable import Storage

@Suite(.timeLimit(.minutes(5))) struct Transfers {
    @Test func theReadersTimeIsNotTheServers() {
        let clock = TurnedClock()
        let transfer = Transfer(
            .init(method: "GET", path: "/"), stall: 0.5, limit: 0, clock: clock.clock
        ) { _, _ in clock.turn(by: 1) }
        for line in ["HTTP/1.1 200 OK\r\n", "\r\n"] {
            _ = Array(line.utf8).withUnsafeBytes { transfer.header($0) }
        }
        #expect([1].withUnsafeBytes { transfer.put(.init(rebasing: $0[..<1])) } == 1)
        #expect(transfer.moved(down: 1, up: 0) == 0)
        clock.turn(by: 1)
        #expect(transfer.moved(down: 1, up: 0) != 0)
    }

    @Test func aServerHasNoMoreThanItWasSent() throws {
        let blob = try Intake(reading: stream(sealed(.blob, length: 1000)))
        defer { blob.stop() }
        try blob.start()
        let window = Window(of: blob, RetryPolicy(Settings(), at: "test"), at: "test", isReported: true)
        #expect(try window.fill())
        window.begin()
        #expect(status { try window.acknowledge(1000) } == .io)
        var sent = [UInt8](repeating: 0, count: 600)
        #expect(try sent.withUnsafeMutableBytes { try window.read(into: $0) } == 600)
        #expect(status { try window.acknowledge(601) } == .io)
        // The request broke, and the server said that it had less: what it had got comes to be known in the next one.
        try window.acknowledge(300)
        window.begin()
        try window.acknowledge(600)
        #expect(try sent.withUnsafeMutableBytes { try window.read(into: $0) } == 400)
        #expect(try window.acknowledge(1000))
        #expect(try !window.fill())
    }

    /// A server says only now and then how far it is, and need not say it of the last bytes before it has all of them.
    @Test func theEndIsNotWaitedFor() throws {
        let length = 2 << 20 + 100
        let blob = try Intake(reading: stream(sealed(.blob, length: length)))
        defer { blob.stop() }
        try blob.start()
        let window = Window(of: blob, RetryPolicy(Settings(), at: "test"), at: "test", isReported: true)
        #expect(try window.fill())
        window.begin()
        var sent = [UInt8](repeating: 0, count: 300_000)
        func read() throws -> Int? { try sent.withUnsafeMutableBytes { try window.read(into: $0) } }
        var count = 0
        while count < length { count += try #require(try read()) }
        #expect(try read() == 0)
    }
}
