import Testing

@testable import Layout

/// What a copy says when it has started, and how it is made.
struct BootTests {
    private func heard(_ text: String) -> Listener {
        var listener = Listener()
        // However it comes.
        for byte in text.utf8 { listener.hear([byte]) }
        return listener
    }

    @Test("the state and what failed, whatever a firmware has written before") func state() {
        let listener = heard(
            "\u{1b}[0mBooting\nescapepod-drill: state degraded\r\nescapepod-drill: failed one.service\r\n"
                + "escapepod-drill: failed two.service\nescapepod-drill: end\nescapepod-drill: state running\n"
        )
        #expect(listener.isAtEnd)
        #expect(listener.state == "degraded")
        #expect(listener.failed == ["one.service", "two.service"])
    }

    @Test(
        "what is no such line is none",
        arguments: [
            "x escapepod-drill: end\n", "escapepod-drill:end\n", "escapepod-drill:\n", "escapepod-drill: end",
        ])
    func others(_ text: String) {
        #expect(!heard(text).isAtEnd)
        #expect(heard(text).state.isEmpty)
    }

    @Test("a hostile copy fills no memory and steers no terminal") func hostile() {
        var listener = Listener()
        listener.hear(repeatElement(UInt8(ascii: "x"), count: 1 << 20))
        for _ in 0..<1000 { listener.hear(Array("\nescapepod-drill: failed \u{1b}[2J\n".utf8)) }
        #expect(listener.failed.count == 100)
        #expect(listener.failed.allSatisfy { $0.utf8.allSatisfy { $0 >= 0x20 } })
    }

    @Test("what qemu says last is told") func complaint() {
        let listener = heard("qemu-system-x86_64: one\nqemu-system-x86_64: no such disk\n")
        #expect(listener.complaint == ": no such disk")
    }

    @Test("a copy's btrfs gets its UUID later, and all else at once") func plan() throws {
        let target = Target(path: "/dev/vdb", size: 2 << 30, sector: 512)
        for isDrill in [false, true] {
            let plan = try Plan(
                Pod.machine(), identity: [1], on: target, named: .init(serial: nil, size: nil),
                firmware: .uefi,
                isDrill: isDrill)
            let commands = plan.steps.map(\.command)
            #expect(commands.contains { $0[0] == "mkfs.btrfs" && $0.contains(Pod.root) } == !isDrill)
            #expect(commands.contains { $0[0] == "mkswap" && $0.contains("--uuid") })
        }
    }
}
