import Plumbing
import Testing

@testable import Layout

@Suite struct MachineTests {
    @Test func readsWhatItWrites() throws {
        let machine = try Pod.machine()
        #expect(try Pod.machine("\(machine.json)") == machine)
        #expect(machine.root.path == "@")
    }

    /// Whoever has the key may have made a capsule that is to do harm.
    @Test(arguments: [
        (#""version":1"#, #""version":2"#, "version 2"),
        (#""path":"@home""#, #""path":"../etc""#, "path"),
        (#""path":"@home""#, #""path":"/etc""#, "path"),
        (#""path":"@home""#, #""path":"@//x""#, "path"),
        (#""path":"@home""#, #""path":"@""#, "one twice"),
        (#""label":"home""#, #""label":"root""#, "one twice"),
        (#""label":"home""#, #""label":"a/b""#, "label"),
        (#""label":"home""#, #""label":"a.b""#, "label"),
        (#""mount":"/home""#, #""mount":"/../x""#, "mount"),
        (#""mount":"/","#, #""mount":"/x","#, "no root"),
        (#""archive":"efi.tar""#, #""archive":"../efi.tar""#, "archive"),
        (#""label":"ESP""#, #""label":"--help""#, "dash"),
        (#""label":"ESP""#, #""label":"a\nb""#, "control"),
        (#""name":"EFI system""#, #""name":"a\", start=0""#, "name"),
        (#""form":"32""#, #""form":"32 -x""#, "form"),
        (#""form":"crc32c""#, #""form":"--x""#, "form"),
        (#""kind":"swap""#, #""kind":"zfs""#, "kind"),
        (#""uuid":"3345-351A""#, #""uuid":"-x""#, "uuid"),
        (#""uuid":"5535562e-c483-49d8-b93e-77c3c6b89808""#, #""uuid":"x""#, "uuid"),
        (#""type":"0fc63daf-8483-4772-8e79-3d69d8477de4""#, #""type":"83, start=1""#, "type"),
        (#""start":68157440"#, #""start":1048576"#, "overlap"),
        (#""start":68157440"#, #""start":68157441"#, "between sectors"),
        (#""start":68157440"#, #""start":0"#, "place"),
        (#""start":907018240"#, #""start":1070000128"#, "not on the disk"),
        (#""size":1073741824"#, #""size":9000000000000000000"#, "size"),
        (#""number":3"#, #""number":1"#, "order"),
        (#""sector":512"#, #""sector":0"#, "sector"),
        (#""table":"gpt""#, #""table":"sun""#, "table"),
        (#""id":"902c7cd3-00e2-3747-8511-9eae0c229312""#, #""id":"x""#, "id"),
        (#""subvolume":"@swap""#, #""subvolume":"../x""#, "path"),
        (#""name":"swapfile""#, #""name":"a/b""#, "path"),
        (#""size":8388608,"#, #""size":100,"#, "swapfile"),
        (#""firmware":["uefi"]"#, #""firmware":["openfirmware"]"#, "unknown kind"),
    ])
    func refuses(_ old: String, _ new: String, _ word: String) throws {
        let text = Pod.text()
        #expect(text.contains(old))
        let failure = try #require(throws: Failure.self) { try Pod.machine(text.replacing(old, with: new)) }
        #expect(failure.status == .badData)
        #expect(failure.what.contains(word), "\(failure.what)")
    }

    @Test func everyMemberHasItsBackup() throws {
        func line(_ label: String, _ domain: String) -> String {
            #"{"label":"\#(label)","domain":"\#(domain)","generation":3,"sha256":"\#(String(repeating: "a", count: 64))","#
                + #""folder":"file-store-1"}"# + "\n"
        }
        func read(_ text: String) throws -> [(Place, MemberBackup)] {
            try MemberBackup.read(Array(text.utf8), of: Pod.machine(), at: "members.json")
        }
        let both = line("home", "home.pod") + line("root", "root.pod")
        #expect(try read(both).map(\.0.path) == ["@", "@home"])
        #expect(try read(both).map(\.1.domain) == ["root.pod", "home.pod"])
        for text in [
            "", line("root", "root.pod"), both + line("home", "home.pod"),
            line("home", "root.pod") + line("root", "root.pod"),
            line("home", "pod") + line("root", "root.pod"),
            line("home", "home./x") + line("root", "root.pod"),
            both.replacing("file-store-1", with: "../x"),
            both.replacing(#""generation":3"#, with: #""generation":0"#),
            both.replacing("aaaa", with: "AAAA"),
        ] {
            let failure = #expect(throws: Failure.self) { try read(text) }
            #expect(failure?.status == .badData, "\(text)")
        }
    }
}
