import Fuzzing
import JSON
import OpenSSL
import Plumbing

@testable import Catalog

func json(_ input: [UInt8]) throws {
    guard let value = try accepted({ try JSON(parsing: input, at: "input") }) else { return }
    let again = try JSON(parsing: value.line, at: "again")
    hold(again == value && again.line == value.line, "another value")
    hold(String(validating: value.line, as: UTF8.self) != nil, "not UTF-8")
    hold(!value.line.dropLast().contains { $0 < 0x20 || $0 == 0x7f }, "a control character")
}

/// Documents, one a line, oldest first; `@512` stands for the SHA-512 of the line before, as a chain has it.
func documents(_ input: [UInt8]) throws {
    var (chain, lineage): (Chain?, Lineage?) = (Chain(domain: nil), nil)
    var before: [UInt8] = []
    var witness: Document?
    for line in input.parts(at: "\n") {
        let filled = Array(
            line.parts(at: "@512").joined(separator: Array(try Digest.hex(.sha512, of: before).utf8)))
        before = filled
        guard let document = try accepted({ try Document(parsing: filled, at: "input") }) else { continue }
        let metadata = document.metadata
        let printed = metadata.json.line
        hold(try Document(parsing: printed, at: "again").metadata.json.line == printed, "another document")
        try holdShell(metadata.shell)
        hold(!metadata.page.unicodeScalars.contains { $0.value < 0x20 && $0 != "\n" }, "a control character")
        if chain != nil, !(try isAccepted { try chain?.append(document, at: "input") }) { chain = nil }
        if witness == nil {
            witness = document
            lineage = try Lineage(of: metadata.backup.domain, witness: document)
        }
        // A document that it refuses is not taken.
        _ = try isAccepted { try lineage?.append(document, at: "input") }
    }
    guard let lineage, let head = lineage.head else { return }
    let snapshot = try Snapshot(
        [
            "slot": "root", "path": "/v", "uuid": .string(head.metadata.backup.uuid), "receivedUuid": .null,
            "generation": 1, "created": "2026-11-23T06:10:00Z", "readOnly": true,
            "changed": false,
        ], at: "snapshot")
    for snapshots in [[], [snapshot]] {
        guard let plan = try accepted({ try Plan(on: lineage, snapshots: snapshots) }) else { continue }
        hold(plan.generation > head.metadata.backup.generation, "a generation again")
        try hold(plan)
    }
}

private func hold(_ plan: Plan) throws {
    hold(try Plan(plan.json, at: "again").json == plan.json, "another plan")
    try holdShell(plan.shell)
}

/// What a shell would make of it: each line is a name and one word in quotes.
private func holdShell(_ text: String) throws {
    var (name, isQuoted, value) = (true, false, Array(text.utf8)[...])
    while let byte = value.popFirst() {
        switch byte {
        case UInt8(ascii: "'"):
            isQuoted.toggle()
            name = false
        case _ where isQuoted: hold(byte != 0, "a zero byte")
        case UInt8(ascii: "\\"): hold(value.popFirst() == UInt8(ascii: "'"), "a backslash")
        case UInt8(ascii: "\n"): name = true
        case UInt8(ascii: "="): hold(name, "an equals sign")
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "_"), UInt8(ascii: "0")...UInt8(ascii: "9"):
            hold(name, "outside the quotes")
        default: hold(false, "outside the quotes")
        }
    }
    hold(!isQuoted, "a quote without an end")
}

/// What the stages print, one a line: plan, snapshot, report, receipt, list of snapshots, and the versions as a text.
func records(_ input: [UInt8]) throws {
    let lines = input.parts(at: "\n")
    func record<Value>(_ index: Int, _ make: (JSON, String) throws -> Value) throws -> Value? {
        guard index < lines.count else { return nil }
        return try accepted { try make(JSON(parsing: lines[index], at: "input"), "input") }
    }
    let plan = try record(0, Plan.init)
    let snapshot = try record(1, Snapshot.init)
    let report = try record(2, Report.init)
    let receipt = try record(3, Receipt.init)
    if let plan { try hold(plan) }
    if case .array(let snapshots)? = try record(4, { value, _ in value }) {
        for value in snapshots {
            _ = try accepted { try Stub(value, at: "input") }
            _ = try accepted { try Snapshot(value, at: "input") }
        }
    }
    guard let plan, let snapshot, let report, let receipt else { return }
    let text = String(decoding: lines.count > 5 ? lines[5] : [], as: UTF8.self)
    _ = try accepted {
        try Document.create(
            domain: plan.domain, plan: plan, snapshot: snapshot, report: report, receipt: receipt,
            producer: Producer(escapepod: "1", kernel: text, btrfsProgs: "6"))
    }
}
