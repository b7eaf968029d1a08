import JSON
import Plumbing
import Testing

@testable import Catalog

@Suite struct Text {
    @Test func hostileSlotAndPath() throws {
        let evil = "'; rm -rf /\n\u{1b}[2J"
        let snapshot = try Snapshot(
            [
                "slot": .string(evil), "path": .string(evil), "uuid": .string(uuid(1)), "receivedUuid": .null,
                "created": "2026-11-23T06:10:00Z", "readOnly": true, "changed": false,
            ], at: "test")
        let plan = try Sample.plan([Sample.first()], [snapshot])
        #expect(plan.reason.hasSuffix(#"in '; rm -rf /\x0a\x1b[2J"#))
        #expect(plan.lines.split(separator: "\n", omittingEmptySubsequences: false).count == 4)
    }

    @Test func linesForAScript() throws {
        let none = try Sample.plan([])
        #expect(none.lines == "full 1 none none none\n\(none.reason)\n\n")
        let head = try Sample.document(Sample.first()).metadata
        let plan = try Sample.plan([Sample.first()], [Sample.snapshot("root", uuid(1))])
        #expect(plan.lines == "incremental 2 \(head.backup.sha256) full root\n\(plan.reason)\n\n")
        #expect(
            head.line
                == "1 full 2026-11-21T06:10:00Z 1234568 \(head.backup.sha256) \(uuid(1)) pod.example.org none 1.2 MiB\n"
        )
    }

    @Test func thePage() throws {
        let page = try Sample.document(Sample.second()).metadata.page
        #expect(
            page.hasPrefix(
                "pod.example.org, generation 2: incremental backup\n\n  taken     2026-11-22 06:10:00 UTC\n"))
        #expect(page.contains("  size      1.2 MiB, sealed (1234569 bytes)\n"))
        #expect(page.contains("Builds on generation 1, full:\n"))
        #expect(page.split(separator: "\n").allSatisfy { $0.count <= 78 })
    }

    @Test func aPageCannotSteerATerminal() throws {
        let evil = "\u{1b}]0;x\u{7}\u{9b}2J\r\n\u{202e}\u{2028}\u{feff}\u{e000}"
        let json = try Sample.second().with(["producer", "kernel"], .string(evil))
            .with(["producer", "escapepod"], .string(evil)).with(["producer", "btrfs-progs"], .string(evil))
        let page = try Sample.document(json).metadata.page
        #expect(
            page.contains(
                #"Linux \x1b]0;x\x07\xc2\x9b2J\x0d\x0a\xe2\x80\xae\xe2\x80\xa8\xef\xbb\xbf\xee\x80\x80"#))
        #expect(page.unicodeScalars.allSatisfy { $0 == "\n" || 0x20...0x7e ~= $0.value })
    }
}
