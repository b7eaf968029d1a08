import Glibc
import JSON
import Plumbing
import Testing

@testable import Catalog

@Suite struct Text {
    static let hostile = [
        "", "plain", "'", "''", "'; rm -rf /", "$(reboot)", "`reboot`", "a\nPLAN_TYPE='full'\n", "\\", "\\'",
        "\"", "*", "~",
        "'\u{301}", "é\u{1b}[2J", "\r\n", "-n", "!x", String(repeating: "'", count: 1000),
    ]

    @Test(arguments: hostile)
    func aShellReadsBackWhatWasQuoted(value: String) throws {
        // /bin/sh -c 'SCRIPT' is asked whether the variable holds the value, which goes in through the environment.
        let script = shellAssignments([("X", value)]) + "[ \"$X\" = \"$WANTED\" ]"
        var pid: pid_t = 0
        var arguments: [UnsafeMutablePointer<CChar>?] = [
            strdup("/bin/sh"), strdup("-c"), strdup(script), nil,
        ]
        var environment: [UnsafeMutablePointer<CChar>?] = [strdup("WANTED=\(value)"), nil]
        defer { for string in arguments + environment { free(string) } }
        try #require(posix_spawn(&pid, "/bin/sh", nil, nil, &arguments, &environment) == 0)
        var status: Int32 = -1
        try #require(waitpid(pid, &status, 0) == pid)
        #expect(status == 0)
    }

    @Test func hostileSlotAndPath() throws {
        let evil = "'; rm -rf /\n\u{1b}[2J"
        let snapshot = try Snapshot(
            [
                "slot": .string(evil), "path": .string(evil), "uuid": .string(uuid(1)), "receivedUuid": .null,
                "created": "2026-11-23T06:10:00Z", "readOnly": true, "changed": false,
            ], at: "test")
        let plan = try Sample.plan([Sample.first()], [snapshot])
        #expect(plan.shell.contains("PLAN_PARENT_PATH=''\\''; rm -rf /\n\u{1b}[2J'\n"))
        #expect(plan.reason.hasSuffix(#"in '; rm -rf /\x0a\x1b[2J"#))
    }

    @Test func variables() throws {
        func names(_ text: String) -> [String] {
            text.split(separator: "\n").map { String($0.prefix { $0 != "=" }) }
        }
        let plan = try Sample.plan([])
        #expect(
            names(plan.shell) == [
                "PLAN_TYPE", "PLAN_REASON", "PLAN_WARNING", "PLAN_GENERATION", "PLAN_FOLLOWS",
                "PLAN_HEAD_TYPE",
                "PLAN_PARENT_SLOT",
                "PLAN_PARENT_PATH",
            ])
        #expect(plan.shell.contains("PLAN_FOLLOWS='none'\nPLAN_HEAD_TYPE=''\n"))
        let shell = try Sample.document(Sample.second()).metadata.shell
        #expect(
            names(shell) == [
                "META_GENERATION", "META_TYPE", "META_UUID", "META_DATE", "META_SIZE", "META_SHA256",
                "META_SHA512",
                "META_PARENT_SHA256", "META_PARENT_GENERATION",
                "META_PREVIOUS_GENERATION", "META_DOMAIN",
            ])
        #expect(shell.contains("META_PARENT_GENERATION='1'\n"))
        #expect(try Sample.document(Sample.first()).metadata.shell.contains("META_PARENT_SHA256=''\n"))
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
