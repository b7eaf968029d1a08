import Glibc
import Testing

@testable import Storage

@Suite(.timeLimit(.minutes(1))) struct Transfers {
    @Test func theReadersTimeIsNotTheServers() {
        let transfer = Transfer(.init(method: "GET", path: "/"), stall: 0.5, limit: 0) { _, _ in
            usleep(1_000_000)
        }
        for line in ["HTTP/1.1 200 OK\r\n", "\r\n"] {
            _ = Array(line.utf8).withUnsafeBytes { transfer.header($0) }
        }
        #expect([1].withUnsafeBytes { transfer.take(.init(rebasing: $0[..<1])) } == 1)
        #expect(transfer.moved(down: 1, up: 0) == 0)
        usleep(1_000_000)
        #expect(transfer.moved(down: 1, up: 0) != 0)
    }
}
