import Glibc
import JSON
import Plumbing
import Testing

@testable import Catalog

/// The lines of a history, as ep-unseal makes them.
private func text(_ documents: [JSON], end: Int? = nil) throws -> String {
    try documents.map { "\(try blob($0)) \($0)\n" }.joined() + "end \(end ?? documents.count)\n"
}

private func blob(_ document: JSON) throws -> String { try Sample.document(document).metadata.backup.sha256 }

private func shown(_ text: String, of domain: String = Sample.domain) throws -> (
    History, complaints: [String]
) {
    var complaints: [String] = []
    let history = try History(of: domain, from: .containing(text)) { complaints.append($0.what) }
    return (history, complaints)
}

/// Full, incremental, incremental, full, incremental, each made on the one before.
private func five() throws -> [JSON] {
    let first = try Sample.first()
    let second = try Sample.incremental(2, upon: first)
    let third = try Sample.incremental(3, upon: second)
    let fourth = try Sample.next(4, on: third)
    return [first, second, third, fourth, try Sample.incremental(5, upon: fourth)]
}

/// Full, incremental, incremental, differential, incremental.
private func differentials() throws -> [JSON] {
    let start = try five()[...2]
    let fourth = try Sample.incremental(4, upon: start[0], on: start[2])
    return start + [fourth, try Sample.incremental(5, upon: fourth)]
}

@Suite struct Histories {
    @Test func whatIsWhole() throws {
        let (history, complaints) = try shown(text(five()))
        #expect(
            history.entries.compactMap { $0.backup?.generation } == [1, 2, 3, 4, 5] && complaints.isEmpty)
        #expect(try blob(five()[4]) == history.head?.metadata.backup.sha256)
        #expect(history.table.split(separator: "\n").count == 6)
        #expect(try shown("end 0\n").0.entries.isEmpty)
    }

    @Test func whatIsCutOrNone() throws {
        let whole = try text(five())
        for bad in [
            "", String(whole.dropLast()), String(whole.dropLast(6)), whole + "x", whole + "end 5\n",
            "end 1\n",
            try text(five(), end: 4), "x\n" + whole, whole.uppercased(),
        ] {
            #expect(failure { _ = try shown(bad) }?.what == "not a complete history", "\(bad.suffix(20))")
        }
    }

    @Test func whatIsDamagedStandsForItself() throws {
        let documents = try five()
        let lines = try documents.enumerated().map { index, document in
            switch index {
            case 1: "\(try blob(document)) damaged\n"
            case 2: "\(try blob(document)) unreadable\n"
            // Of another backup than the store says.
            case 3: "\(try blob(documents[0])) \(document)\n"
            default: "\(try blob(document)) \(document)\n"
            }
        }
        let (history, complaints) = try shown(lines.joined() + "end 5\n")
        #expect(history.entries.compactMap { $0.backup?.generation } == [1, 5] && complaints.count == 1)
        #expect(failure { _ = try history.entries[2].requireBackup(in: "store") }?.status == .io)
        #expect(failure { _ = try history.entries[3].requireBackup(in: "store") }?.status == .badData)
        #expect(history.table.contains("?  damaged "))
        #expect(try shown(text(five()), of: "other").0.entries.allSatisfy { $0.backup == nil })
    }

    @Test func aLineageOnAHistory() throws {
        let documents = try five()
        var lineage = try Lineage(of: Sample.domain, witness: Sample.document(documents[3]))
        // What is damaged in front of the witness is of no account.
        let damaged = "\(try blob(documents[0])) damaged\n" + (try text(Array(documents.dropFirst()), end: 5))
        try lineage.append(.containing(damaged))
        #expect(lineage.warning == nil && lineage.next == 6)
        var headless = try Lineage(of: Sample.domain, witness: nil)
        let cut = "\(try blob(documents[0])) \(documents[0])\n\(try blob(documents[1])) damaged\nend 2\n"
        #expect(failure { try headless.append(.containing(cut)) }?.status == .badData)
    }
}

@Suite struct RestoreChains {
    private func chain(_ generation: Int64?, in documents: [JSON]) throws -> RestoreChain {
        try RestoreChain(to: generation, in: shown(text(documents)).0, of: "store")
    }

    @Test func fromTheWantedBackTotheFullOne() throws {
        #expect(try chain(nil, in: five()).backups.map(\.generation) == [4, 5])
        #expect(try chain(nil, in: five()).isNewest)
        let chain = try chain(3, in: five())
        #expect(chain.backups.map(\.generation) == [1, 2, 3] && !chain.isNewest)
        #expect(chain.size == 3 * 1_234_567 + 6 && chain.need == chain.size)
        #expect(try self.chain(1, in: five()).need == 1_234_568)
    }

    @Test func byWhatEachBuildsOn() throws {
        let documents = try differentials()
        #expect(try chain(nil, in: documents).backups.map(\.generation) == [1, 4, 5])
        #expect(try chain(3, in: documents).backups.map(\.generation) == [1, 2, 3])
        // What is not of its chain may be missing or damaged.
        #expect(
            try chain(5, in: [documents[0], documents[3], documents[4]]).backups.map(\.generation) == [
                1, 4, 5,
            ])
        let whole = try text(documents)
        let damaged = whole.replacingOccurrence(of: " \(documents[1])", with: " damaged")
        #expect(
            try RestoreChain(to: 4, in: shown(damaged).0, of: "store").backups.map(\.generation) == [1, 4])
        let table = try shown(whole).0.table.split(separator: "\n")
        #expect(
            table.map { $0.split(separator: " ")[1] } == [
                "TYPE", "full", "incremental", "incremental", "differential", "incremental",
            ])
    }

    @Test func whatIsNotThereOrBroken() throws {
        #expect(failure { _ = try chain(6, in: five()) }?.status == .notFound)
        #expect(failure { _ = try chain(nil, in: []) }?.status == .notFound)
        // Without the full one; without one in the middle; with one in the middle that is another's.
        var documents = try five()
        documents.removeFirst()
        #expect(failure { _ = try chain(2, in: documents) }?.status == .badData)
        documents = try five()
        documents.remove(at: 1)
        #expect(failure { _ = try chain(3, in: documents) }?.status == .badData)
        documents = try five()
        documents[1] = documents[1].with(["producer", "kernel"], "other")
        #expect(failure { _ = try chain(3, in: documents) }?.status == .badData)
        #expect(try chain(5, in: documents).backups.count == 2)
    }

    @Test func damagePassedOver() throws {
        let documents = try five()
        let text = try text(Array(documents[..<4]), end: 5).replacingEnd("\(blob(documents[4])) damaged\n")
        let (history, _) = try shown(text)
        let chain = try RestoreChain(to: 2, in: history, of: "store")
        // No generation is further up than its number, so that one was not even looked at.
        #expect(!chain.passedOverDamage && chain.backups.count == 2)
        #expect(failure { _ = try RestoreChain(to: nil, in: history, of: "store") }?.status == .badData)
        #expect(failure { _ = try RestoreChain(to: 5, in: history, of: "store") }?.status == .badData)
    }

    @Test func aStoreThatHidesTheNewest() throws {
        let (history, _) = try shown(text(five()))
        try history.requireNewest(atLeast: 5, of: "store")
        #expect(failure { try history.requireNewest(atLeast: 6, of: "store") }?.status == .badData)
    }
}

@Suite struct Audits {
    @Test func whatADamagedDocumentTakesDown() throws {
        let documents = try five()
        let text = try text(documents).replacingOccurrence(of: " \(documents[1])", with: " damaged")
        let audit = Audit(of: try shown(text).0, witness: nil)
        #expect(audit.lines == ["generation 2: the metadata is damaged: takes down generations 2 to 3"])
        #expect(!audit.headIsLost)
        #expect(audit.faults[0]["takesDown"] == [2, 3] && audit.faults[0]["problem"] == "damaged")
    }

    @Test func whatABlobTakesDown() throws {
        let documents = try five()
        var audit = Audit(of: try shown(text(documents)).0, witness: nil)
        #expect(audit.faults.isEmpty)
        audit.find(blob: try blob(documents[0]), .missing)
        #expect(audit.lines.last == "generation 1: the blob is missing: takes down generations 1 to 3")
        #expect(!audit.headIsLost)
        audit.find(blob: try blob(documents[4]), .forged)
        #expect(audit.lines.last?.hasSuffix("takes down generation 5") == true && audit.headIsLost)
        audit.find(blob: String(repeating: "0", count: 64), .missing)
        #expect(audit.faults.count == 2)
    }

    @Test func whatBuildsOnIt() throws {
        let documents = try differentials()
        var audit = Audit(of: try shown(text(documents)).0, witness: nil)
        audit.find(blob: try blob(documents[1]), .missing)
        #expect(audit.lines.last == "generation 2: the blob is missing: takes down generations 2 to 3")
        #expect(!audit.headIsLost)
        audit.find(blob: try blob(documents[0]), .damaged)
        #expect(
            audit.lines.last == "generation 1: the blob is damaged: takes down generations 1 to 5"
                && audit.headIsLost)
        audit.find(blob: try blob(documents[3]), .damaged)
        #expect(audit.faults.last?["takesDown"] == [4, 5])
        // The document alone, and one that is not there.
        let damaged = try text(documents).replacingOccurrence(of: " \(documents[3])", with: " damaged")
        #expect(
            Audit(of: try shown(damaged).0, witness: nil).lines == [
                "generation 4: the metadata is damaged: takes down generations 4 to 5"
            ])
        let hole = try text([documents[0], documents[2], documents[3], documents[4]])
        #expect(
            Audit(of: try shown(hole).0, witness: nil).lines == [
                "generation 2: the metadata is missing: takes down generation 2",
                "generation 3: the metadata was not made on the one before: takes down generation 3",
            ])
        #expect(spans(of: [1, 3, 4, 5, 7]) == "1, 3 to 5 and 7" && spans(of: []) == "")
    }

    @Test func gaps() throws {
        let documents = try five()
        var audit = Audit(of: try shown(text([documents[0], documents[3], documents[4]])).0, witness: nil)
        #expect(audit.lines == ["generations 2 to 3: the metadata is missing: takes down all of them"])
        #expect(audit.faults[0]["through"] == 3 && audit.faults[0]["takesDown"] == [])
        // What is incremental and was made on what is not there is lost, too.
        audit = Audit(of: try shown(text([documents[0], documents[2]])).0, witness: nil)
        #expect(
            audit.lines == [
                "generation 2: the metadata is missing: takes down generation 2",
                "generation 3: the metadata was not made on the one before: takes down generation 3",
            ])
        // Behind the end, as the witness tells.
        let witness = try Sample.document(documents[4]).metadata.backup
        audit = Audit(of: try shown(text(Array(documents[..<3]))).0, witness: witness)
        #expect(audit.lines == ["generations 4 to 5: the metadata is missing: takes down all of them"])
    }

    @Test func aDocumentThatWasReplaced() throws {
        var documents = try five()
        documents[1] = documents[1].with(["producer", "kernel"], "other")
        let (history, complaints) = try shown(text(documents))
        let audit = Audit(of: history, witness: nil)
        #expect(
            audit.lines == [
                "generation 3: the metadata was not made on the one before: takes down generation 3"
            ])
        #expect(complaints.count == 1)
    }
}

@Suite struct States {
    private let start = Time("2026-11-25T06:10:00Z") ?? Time(seconds: 0)
    private let key = Status.Key(id: "id", inStore: .here, space: nil)

    @Test func times() throws {
        for (date, seconds) in [
            ("1970-01-01T00:00:00Z", 0), ("2000-02-29T23:59:59Z", 951_868_799),
            ("2026-11-25T06:10:00Z", 1_795_587_000),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
        ] as [(String, Int64)] {
            #expect(Time(date)?.seconds == seconds && Time(seconds: seconds).date == date)
        }
        #expect(Time("2026-11-25 06:10:00Z") == nil)
        #expect(
            [0, 1, 59, 60, 7200, 86_400 * 3 + 5].map(span) == [
                "0 seconds", "1 second", "59 seconds", "1 minute", "2 hours", "3 days",
            ])
    }

    private func status(
        _ memory: Memory = Memory(), at now: Time? = nil, limit: Int64? = nil, key: Status.Key? = nil
    ) throws -> Status {
        var status = Status(domain: Sample.domain, store: "store", at: now ?? start, memory: memory)
        try status.look(at: shown(text(five())).0, key: key ?? self.key, limit: limit)
        return status
    }

    @Test func allGood() throws {
        let status = try status()
        #expect(status.exit == .done && status.warnings.isEmpty)
        #expect(
            status.page.contains(
                "  last backup    generation 5, incremental, 2026-11-25T06:10:00Z (0d 0h 0m ago)\n"))
        #expect(status.page.contains("  chain          2 backups to read, 2.4 MiB\n"))
        #expect(status.json?["chain"] == ["backups": 2, "bytes": 2_469_143] && status.json?["status"] == 0)
        #expect(
            status.metrics(ending: nil).contains(
                "escapepod_status{domain=\"pod.example.org\",store=\"store\"} 0\n"))
    }

    @Test(arguments: [
        (Status.Key.Copy.here, nil, nil, 0), (.missing, nil, "no copy of the key is in the store: store", 1),
        (.anotherKey, nil, "the key in the store is", 1), (.here, Status.Key.Copy.here, nil, 0),
        (.here, .missing, "the key is not in the key space: /k", 1),
        (.here, .anotherKey, "the key is not in the key space: /k", 1), (.missing, .missing, nil, 2),
    ])
    func copiesOfTheKey(
        _ store: Status.Key.Copy, _ space: Status.Key.Copy?, _ warning: String?, _ count: Int
    ) throws {
        let status = try status(key: .init(id: "id", inStore: store, space: space.map { ("/k", $0) }))
        #expect(status.warnings.count == count)
        if let warning { #expect(status.warnings[0].what.hasPrefix(warning)) }
        #expect(status.json?["key"]?["inStore"] == .bool(store == .here))
        #expect(status.json?["key"]?["inKeySpace"] == .bool(space == .here))
    }

    @Test func aKeySpaceThatIsElsewhereIsNoFault() throws {
        let status = try status(key: .init(id: "id", inStore: .here, space: ("/k", nil)))
        #expect(status.exit == .done && status.page.contains("not seen in /k"))
    }

    @Test func anOldOneAndOneOfTheFuture() throws {
        let late = Time(seconds: start.seconds + 27 * 3600)
        #expect(
            try status(at: late, limit: 26 * 3600).warnings.map(\.what) == [
                "the newest backup is 1 day old, but may be at most 1 day old"
            ])
        #expect(try status(at: late, limit: 28 * 3600).exit == .done)
        let early = Time(seconds: start.seconds - 3600)
        #expect(
            try status(at: early).warnings[0].what.hasPrefix("the date of the newest backup is in the future")
        )
        #expect(try status(at: Time(seconds: start.seconds - 200)).exit == .done)
    }

    @Test func whatThisMachineKnows() throws {
        var memory = Memory()
        memory.failed = ["exit": 69, "finished": "2026-11-25T05:00:00Z", "what": "a backup"]
        memory.verified = ["finished": "2026-11-24T06:10:00Z", "problems": 2, "blobs": 3, "bytes": 100]
        memory.drilled = ["finished": "2026-11-24T06:10:00Z", "result": "differs", "generation": 4]
        let status = try status(memory)
        #expect(status.warnings.count == 3 && status.exit == .attention)
        #expect(
            status.page.contains("  last verify    1 day ago: 3 blobs, 100 bytes, 2 damaged or missing\n"))
        #expect(status.page.contains("restorable: never"))
        // A sample from before a whole verify is of no account.
        memory.sampled = ["finished": "2026-11-24T06:10:00Z", "problems": 1]
        memory.forgetOldSample()
        #expect(memory.sampled == nil)
    }

    @Test func withoutTheStore() {
        let status = Status(domain: Sample.domain, store: "store", at: start, memory: Memory())
        #expect(
            status.json == nil && status.page.hasPrefix("pod.example.org in store\n  last verify    never\n"))
        #expect(
            status.metrics(ending: 69).contains("_status{domain=\"pod.example.org\",store=\"store\"} 69\n"))
        #expect(!status.metrics(ending: 69).contains("last_backup"))
    }

    @Test func aSignedRecord() throws {
        let record: JSON = ["version": 1, "what": "\"mac\""]
        let mac = String(repeating: "a", count: 64)
        let line = Signed.line(record) { _ in mac }
        #expect(
            String(decoding: line, as: UTF8.self) == #"{"version":1,"what":"\"mac\"","mac":""# + mac + "\"}\n"
        )
        var asked: [UInt8] = []
        let read = Signed.record(line) { said, text in
            asked = text
            return said == mac
        }
        #expect(read?["version"] == 1 && asked == Array("\(record)".utf8))
        #expect(Signed.record(line, accepts: { _, _ in false }) == nil)
        for bad in [Array(line.dropLast(4)), Array(line.dropFirst()), line + line, []] {
            #expect(Signed.record(bad, accepts: { _, text in text == Array("\(record)".utf8) }) == nil)
        }
    }
}

extension String {
    /// With the last line replaced, and the end written anew.
    fileprivate func replacingEnd(_ line: String) -> String {
        let lines = split(separator: "\n").dropLast()
        return lines.joined(separator: "\n") + "\n" + line + "end \(lines.count + 1)\n"
    }

    fileprivate func replacingOccurrence(of part: String, with other: String) -> String {
        guard let range = firstRange(of: part) else { return self }
        return self[..<range.lowerBound] + other + self[range.upperBound...]
    }
}
