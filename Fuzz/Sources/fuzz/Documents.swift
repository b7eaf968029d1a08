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
        holdLines(metadata.line, 1)
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
    let policy = Policy(fullEvery: 14_515_200, differentialEvery: 2_419_200)
    let snapshot = try Snapshot(
        [
            "slot": "root", "path": "/v", "uuid": .string(head.metadata.backup.uuid), "receivedUuid": .null,
            "generation": 1, "created": "2026-11-23T06:10:00Z", "readOnly": true,
            "changed": false,
        ], at: "snapshot")
    for snapshots in [[], [snapshot]] {
        guard
            let plan = try accepted({
                try Plan(on: lineage, snapshots: snapshots, policy: policy, at: Time(seconds: 1_800_000_000))
            })
        else { continue }
        hold(plan.generation > head.metadata.backup.generation, "a generation again")
        try hold(plan)
    }
}

private func hold(_ plan: Plan) throws {
    hold(try Plan(plan.json, at: "again").json == plan.json, "another plan")
    holdLines(plan.lines, 3)
}

/// So many lines, which no terminal is steered by.
private func holdLines(_ text: String, _ count: Int) {
    hold(text.utf8.count { $0 == UInt8(ascii: "\n") } == count, "not \(count) lines: \(text)")
    hold(!text.unicodeScalars.contains { $0.value < 0x20 && $0 != "\n" }, "a control character")
}

/// A history: each line that is a document gets the address of its blob in front, `!` stands for one that is damaged, and
/// where the first byte is even, the end follows.
func histories(_ input: [UInt8]) throws {
    var (text, count): ([UInt8], Int) = ([], 0)
    for line in Array(input.dropFirst()).parts(at: "\n") {
        if let document = try accepted({ try Document(parsing: line, at: "input") }) {
            text += Array("\(document.metadata.backup.sha256) ".utf8) + line
        } else if line.first == UInt8(ascii: "!") {
            text += Array("\(String(repeating: "a", count: 64)) damaged".utf8)
        } else {
            text += line
        }
        text.append(UInt8(ascii: "\n"))
        count += 1
    }
    if input.first ?? 0 & 1 == 0 { text += Array("end \(count)\n".utf8) }
    let lines = text
    guard
        let history = try accepted({
            try History(of: "pod.example.org", from: memory.holding(lines), complain: { _ in })
        })
    else { return }
    hold(history.entries.count == count, "\(history.entries.count) of \(count)")
    holdLines(history.table, count + 1)
    var audit = Audit(of: history, witness: history.entries.compactMap(\.backup).first)
    for entry in history.entries { audit.find(blob: entry.blob, .damaged) }
    hold(audit.lines.count == audit.faults.count && audit.lines.count >= count, "a fault without a line")
    for generation in [nil, 1, 2, 5] as [Int64?] {
        do {
            let chain = try RestoreChain(to: generation, in: history, of: "store")
            hold(chain.backups.first?.type == .full, "it does not start with a full one")
            hold(generation == nil || chain.backups.last?.generation == generation, "another one")
            hold(chain.need >= 0 && chain.size > 0, "room below zero")
        } catch let failure as Failure where [.badData, .io, .notFound].contains(failure.status) {
        }
    }
    try prune(history)
    var lineage = try Lineage(of: "pod.example.org", witness: history.head)
    _ = try isAccepted { try lineage.append(memory.holding(lines)) }
    var status = Status(domain: "pod.example.org", store: "store", at: Time(seconds: 0), memory: .init())
    do {
        try status.look(at: history, key: .init(id: "id", inStore: .here, space: nil), limit: 1)
        _ = (status.json?.line, status.metrics(ending: nil))
        hold(!status.page.unicodeScalars.contains { $0.value < 0x20 && $0 != "\n" }, "a control character")
    } catch let failure as Failure where [.badData, .io, .notFound].contains(failure.status) {
    }
}

/// What stays is enough to restore what stays, whatever the rules.
private func prune(_ history: History) throws {
    let month = Retention.Periods("1m").map { [$0] } ?? []
    let time = Time(seconds: 1_785_000_000)
    for rules in [
        Retention.Rules(periods: [], last: 1, minimumAge: 0),
        Retention.Rules(
            periods: month, last: 0, minimumAge: 86400, held: Set(history.entries.prefix(2).map(\.blob))),
    ] {
        _ = Forecast(of: history, under: rules, room: 1 << 20, at: time, in: "store").rows
        do {
            let retention = try Retention(of: history, under: rules, at: time, in: "store")
            let staying = retention.verdicts.filter(\.stays).map(\.backup)
            hold(!staying.isEmpty || retention.verdicts.isEmpty, "nothing stays")
            holdLines(retention.page, retention.verdicts.count + 1)
            let blobs = Set(staying.map(\.sha256))
            for (index, entry) in history.entries.enumerated() where blobs.contains(entry.blob) {
                guard let base = history.entries[index].base?.index, !history.isPruned(staying[0]) else {
                    continue
                }
                let blob = history.entries[base].blob
                hold(blobs.contains(blob) || history.pruned[blob] != nil, "what it builds on goes")
            }
            _ = try Naming(of: staying, in: history, of: "store").text
        } catch let failure as Failure where [.badData, .io, .notFound].contains(failure.status) {
        }
    }
}

private let memory = Memory()

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
