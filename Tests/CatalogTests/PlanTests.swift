import Envelope
import JSON
import Plumbing
import Testing

@testable import Catalog

@Suite struct Plans {
    private func plan(_ head: JSON?, _ snapshots: [Snapshot]) throws -> Plan {
        try Sample.plan(head.map { [$0] } ?? [], snapshots)
    }

    @Test func noBackupYet() throws {
        for snapshots in [[], [try Sample.snapshot("current-parent", uuid(1))]] {
            let plan = try plan(nil, snapshots)
            #expect(
                plan.json.description
                    == #"{"type":"full","reason":"no backup of pod.example.org in the store yet","warning":null,"generation":1,"#
                    + #""domain":"pod.example.org","follows":null,"headType":null,"snapshot":null,"previous":null,"#
                    + #""parent":null,"chain":null}"#)
        }
    }

    @Test func theHeadsSnapshotIsHere() throws {
        let second = try Sample.second()
        let plan = try plan(
            second, [Sample.snapshot("root", uuid(1)), Sample.snapshot("current-parent", uuid(2))])
        #expect(plan.type == .incremental)
        #expect(
            plan.reason
                == "the store's newest backup (generation 2, UUID \(uuid(2))) has its snapshot here, in current-parent"
        )
        #expect(plan.generation == 3)
        #expect(plan.json["follows"] == second["sha256"])
        #expect(plan.headType == .incremental)
        #expect(plan.source?.slot == "current-parent")
        #expect(plan.source?.path == "/v/.escapepod/usb/current-parent")
        #expect(plan.json["previous"] == .object([try Sample.previous(2, of: second)])["previous"])
        #expect(plan.json["parent"] == second.with(["parent"], nil).with(["previous"], nil))
    }

    @Test func afterARestoreByTheReceivedUUID() throws {
        let plan = try plan(Sample.first(), [Sample.snapshot("current-parent", uuid(8), received: uuid(1))])
        #expect(plan.type == .incremental)
        #expect(plan.source?.uuid == uuid(8))
        #expect(plan.parent?.uuid == uuid(1))
    }

    @Test func noneOfThemIs() throws {
        let head = try Sample.second()
        let name = "generation 2 (UUID \(uuid(2)))"
        let others = try [5, 3, 4].map { try Sample.snapshot("root", uuid($0)) }
        for (snapshots, reason) in [
            ([], "the snapshot of \(name) is not here, nor is any other; deleted by hand?"),
            ([others[0]], "the only snapshot here is not that of \(name); deleted by hand?"),
            (others, "none of the 3 snapshots here is that of \(name); deleted by hand?"),
        ] {
            let plan = try plan(head, snapshots)
            #expect(plan.type == .full)
            #expect(plan.reason == reason)
            #expect(plan.generation == 3)
            #expect(plan.json["follows"] == head["sha256"])
            #expect(plan.headType == .incremental)
            #expect(plan.source == nil && plan.parent == nil)
            #expect(plan.previous?.generation == 2)
        }
    }

    @Test func writableOnesDoNotCount() throws {
        for snapshot in [
            try Sample.snapshot("root", uuid(1), readOnly: false),
            try Sample.snapshot("root", uuid(8), received: uuid(1), readOnly: false),
        ] {
            let plan = try plan(Sample.first(), [snapshot])
            #expect(plan.type == .full)
            #expect(plan.reason.hasSuffix("is here, in root, but is no longer read-only"))
        }
        // The stale one does not hide the true one.
        let plan = try plan(
            Sample.first(),
            [
                Sample.snapshot("root", uuid(8), received: uuid(1), readOnly: false),
                Sample.snapshot("current-parent", uuid(1)),
            ])
        #expect(plan.source?.slot == "current-parent")
    }

    @Test func aSendWouldNameItOtherwise() throws {
        let plan = try plan(Sample.first(), [Sample.snapshot("root", uuid(1), received: uuid(7))])
        #expect(plan.type == .full)
        #expect(plan.reason.hasSuffix("is here, in root, but has got a received UUID since"))
    }

    @Test func anotherDomainsHead() throws {
        let head = try Sample.document(Sample.first())
        let failure = failure {
            var lineage = try Lineage(of: "other", witness: nil)
            try lineage.append(head, at: "test")
        }
        #expect(failure?.status == .badData)
        #expect(failure?.what == "the store's metadata belongs to pod.example.org, not to other")
    }

    @Test func theLastGenerationThatThereCanBe() throws {
        let last = Backup.lastGeneration
        func head(_ generation: Int64) throws -> JSON {
            try Sample.third().with(["generation"], .integer(generation))
                .with(["previous", "generation"], .integer(2))
        }
        let plan = try plan(head(last - 1), [])
        #expect(plan.generation == last)
        #expect(try Plan(plan.json, at: "test").generation == last)
        // Refused before anything is stored.
        #expect(
            failure { _ = try Sample.plan([try head(last)]) }?.what
                == "generation \(last) is the last possible one")
        for beyond in [last + 1, 1 << 62, .max - 1, .max] {
            #expect(refusal(try head(beyond)) == "member generation is out of range: \(beyond)")
        }
    }

    @Test func whatWasChangedDoesNotCount() throws {
        let changed = try Sample.snapshot("root", uuid(1), changed: true)
        let plan = try plan(Sample.first(), [changed])
        #expect(plan.type == .full)
        #expect(plan.reason.hasSuffix("is here, in root, but has changed since"))
        let received = try Sample.snapshot("current-parent", uuid(8), received: uuid(1))
        #expect(try self.plan(Sample.first(), [changed, received]).source?.uuid == uuid(8))
    }

    @Test func stubsOfARollback() throws {
        func stub(_ slot: String, _ elsewhere: JSON = []) throws -> Stub {
            try #require(
                try Stub(
                    ["slot": .string(slot), "path": "/v", "stub": true, "elsewhere": elsewhere], at: "test"))
        }
        let there: JSON = [["path": "old/root\u{1b}", "uuid": .string(uuid(1)), "receivedUuid": .null]]
        let what =
            "the volume was replaced by a snapshot of itself, so its slots are stubs (root); that of generation 1 "
        let found = try Sample.plan([Sample.first()], stubs: [stub("root", there)])
        #expect(found.type == .full)
        #expect(found.reason == what + #"(UUID \#(uuid(1))) is still on the file system, as old/root\x1b"#)
        let lost = try Sample.plan(
            [Sample.first()], [Sample.snapshot("root", uuid(5))], stubs: [stub("root")])
        #expect(lost.reason == what + "(UUID \(uuid(1))) remained in the previous volume")
        #expect(failure { _ = try stub("root", .null) }?.what == "member elsewhere is not an array")
    }

    @Test func aPlanIsReadBack() throws {
        for plan in [
            try plan(nil, []), try plan(Sample.first(), []),
            try plan(Sample.third(), [Sample.snapshot("root", uuid(3))]),
        ] {
            #expect(try Plan(plan.json, at: "test").json == plan.json)
        }
    }

    @Test func eachMemberOfAPlanIsNeeded() throws {
        let json = try plan(Sample.first(), [Sample.snapshot("root", uuid(1))]).json
        guard case .object(let members) = json else { return }
        for name in members.map(\.name) {
            for wrong: JSON? in [nil, true, 0, "", [:]] {
                let failure = failure { _ = try Plan(json.with([name], wrong), at: "test") }
                #expect(failure?.status == .badData && failure?.what.contains(name) == true, "\(name)")
            }
        }
    }

    @Test func eachMemberOfASnapshotIsNeeded() throws {
        let json = try record(
            #"{"slot":"root","path":"/p","uuid":"\#(uuid(1))","receivedUuid":null,"created":"2026-11-23T06:10:00Z","readOnly":true,"changed":false}"#
        )
        guard case .object(let members) = json else { return }
        for name in members.map(\.name) {
            for wrong: JSON? in [nil, 0, "", [:], "a\0b"] {
                let failure = failure { _ = try Snapshot(json.with([name], wrong), at: "test") }
                #expect(failure?.status == .badData && failure?.what.contains(name) == true, "\(name)")
            }
        }
    }
}

@Suite struct Creation {
    struct Parts {
        var domain = Sample.domain
        var plan: Plan
        var snapshot: Snapshot
        var report: JSON
        var receipt: JSON

        func create() throws -> [UInt8] {
            try Document.create(
                domain: domain, plan: plan, snapshot: snapshot, report: Report(report, at: "report"),
                receipt: Receipt(receipt, at: "receipt"),
                producer: Producer(escapepod: "0.1.0", kernel: "6.1", btrfsProgs: "6.2")
            ).line
        }
    }

    private func parts() throws -> Parts {
        let sealed = Int64(Envelope.sealedLength(of: 5000))
        return Parts(
            plan: try Sample.plan([Sample.first()], [Sample.snapshot("current-parent", uuid(1))]),
            snapshot: try Sample.snapshot("current-state", uuid(2)),
            report: [
                "stream": "btrfs", "type": "incremental", "uuid": .string(uuid(2)),
                "parentUuid": .string(uuid(1)), "protocol": 2,
                "bytes": 5000, "complete": true,
            ],
            receipt: [
                "size": .integer(sealed), "sha256": .string(String(repeating: "a", count: 64)),
                "sha512": .string(String(repeating: "b", count: 128)),
            ])
    }

    private func says(_ what: String, _ change: (inout Parts) throws -> Void) throws {
        var parts = try parts()
        try change(&parts)
        let failure = failure { _ = try parts.create() }
        #expect(failure?.status == .badData)
        #expect(failure?.what == what)
    }

    @Test func whatWasCompressedSaysHowLongItIs() throws {
        var parts = try parts()
        #expect(try Document(parsing: parts.create(), at: "test").metadata.backup.uncompressed == nil)
        parts.report = parts.report.with(["bytes"], 9_000_000).with(["compressed"], 5000)
        #expect(try Document(parsing: parts.create(), at: "test").metadata.backup.uncompressed == 9_000_000)
        try says("the blob in the store has 5152 bytes, but the sealed stream has 5153") {
            $0.report = $0.report.with(["compressed"], 5001)
        }
        try says("member compressed is out of range: 0") {
            $0.report = $0.report.with(["compressed"], 0)
        }
        // Of which the room that a restore takes is the sum.
        try says("member uncompressed is out of range: 9223372036854775806") {
            $0.report = $0.report.with(["bytes"], .integer(.max - 1)).with(["compressed"], 5000)
        }
    }

    @Test func theDocumentContinuesTheChain() throws {
        let bytes = try parts().create()
        #expect(bytes.last == 0x0a)
        let document = try Document(parsing: bytes, at: "test")
        var chain = Chain(domain: Sample.domain)
        try chain.append(Sample.document(Sample.first()), at: "test")
        try chain.append(document, at: "test")
        #expect(document.metadata.backup.uuid == uuid(2))
        #expect(document.metadata.backup.date == "2026-11-23T06:10:00Z")
    }

    @Test func aSnapshotOfAReceivedOneGoesByTheReceivedUUID() throws {
        var parts = try parts()
        parts.snapshot = try Sample.snapshot("current-state", uuid(9), received: uuid(2))
        _ = try parts.create()
        parts.report = parts.report.with(["uuid"], .string(uuid(9)))
        #expect(failure { _ = try parts.create() }?.status == .badData)
    }

    @Test func contradictions() throws {
        try says("the plan is for pod.example.org, not for other") { $0.domain = "other" }
        try says("the send stream has UUID \(uuid(3)), but the snapshot has \(uuid(2))") {
            $0.report = $0.report.with(["uuid"], .string(uuid(3)))
        }
        try says("the snapshot is writable, so it may not be what was sent") {
            $0.snapshot = try Sample.snapshot("current-state", uuid(2), readOnly: false)
        }
        try says("the snapshot has changed since it was taken") {
            $0.snapshot = try Sample.snapshot("current-state", uuid(2), changed: true)
        }
        try says("the send stream is full, but the plan is incremental") {
            $0.report = $0.report.with(["type"], "full")
        }
        try says("the send stream builds on \(uuid(7)), but the plan on \(uuid(1))") {
            $0.report = $0.report.with(["parentUuid"], .string(uuid(7)))
        }
        try says("the send stream builds on nothing, but the plan on \(uuid(1))") {
            $0.report = $0.report.with(["parentUuid"], .null)
        }
        try says("the blob in the store has 5153 bytes, but the sealed stream has 5152") {
            $0.receipt = $0.receipt.with(["size"], 5153)
        }
        try says("member complete is false: the send stream was truncated") {
            $0.report = $0.report.with(["complete"], false)
        }
        try says("member stream is not btrfs: no send stream was sealed") {
            $0.report = ["stream": "other", "bytes": 5000, "complete": true]
        }
        try says("member bytes is out of range: 9223372036854775807") {
            $0.report = $0.report.with(["bytes"], .integer(.max))
        }
        try says("member protocol is missing") { $0.report = $0.report.with(["protocol"], nil) }
        try says("member sha512 is missing") { $0.receipt = $0.receipt.with(["sha512"], nil) }
    }

    @Test func hugeCountsDoNotTrap() throws {
        try says("the blob in the store has 5152 bytes, but the sealed stream has 9232379236109516934") {
            $0.report = $0.report.with(["bytes"], .integer(.max - 1))
        }
    }

    @Test func aPlanThatWasChangedMakesNoDocument() throws {
        try says("member previous is missing") {
            $0.plan = try Plan($0.plan.json.with(["previous"], .null), at: "p")
        }
        try says("member parent.generation is not one before 2") {
            $0.plan = try Plan($0.plan.json.with(["parent", "generation"], 7), at: "p")
        }
        try says("member parent.uuid is the backup's own") {
            $0.plan = try Plan($0.plan.json.with(["parent", "uuid"], .string(uuid(2))), at: "p")
            $0.report = $0.report.with(["parentUuid"], .string(uuid(2)))
        }
    }
}
