import JSON
import OpenSSL
import Plumbing
import Testing

@testable import Catalog

private let day: Int64 = 86400

private func weeks(_ full: Int64?, _ differential: Int64?) -> Policy {
    Policy(fullEvery: full.map { $0 * 7 * day }, differentialEvery: differential.map { $0 * 7 * day })
}

@Suite struct Policies {
    /// A backup of that size, taken on that day.
    private func document(
        _ generation: Int64, upon parent: Metadata?, size: Int64, day: Int64 = 0
    ) throws -> Metadata {
        let seed = Array("\(generation)".utf8)
        let receipt = try Receipt(
            [
                "size": .integer(size), "sha256": .string(Digest.hex(.sha256, of: seed)),
                "sha512": .string(Digest.hex(.sha512, of: seed)),
            ], at: "test")
        return Metadata(
            backup: Backup(
                domain: Sample.domain, generation: generation, type: parent == nil ? .full : .incremental,
                uuid: uuid(Int(generation % 10)), date: Time(seconds: day * 86400).date, receipt: receipt,
                uncompressed: nil, producer: Producer(escapepod: "1", kernel: "1", btrfsProgs: "1")),
            previous: nil, parent: parent?.backup, ancestry: parent.flatMap(Ancestry.init(upon:)))
    }

    private func verdict(_ head: Metadata, _ policy: Policy = Sample.never, day: Int64 = 0) -> String {
        switch policy.verdict(on: head, at: Time(seconds: day * 86400)) {
        case .incremental: "incremental"
        case .differential(let why): "differential: \(why)"
        case .full(let why): "full: \(why)"
        }
    }

    @Test func ages() throws {
        let full = try document(1, upon: nil, size: 1000)
        let differential = try document(2, upon: full, size: 1000, day: 1)
        let third = try document(3, upon: differential, size: 1000, day: 2)
        let policy = weeks(12, 4)
        #expect(verdict(third, policy, day: 28) == "incremental")
        #expect(
            verdict(third, policy, day: 29)
                == "differential: the last differential backup, generation 2, is 28 days old")
        #expect(verdict(third, policy, day: 84) == "full: the last full backup, generation 1, is 84 days old")
        // What is behind the full one, or the differential one, cuts nothing short by building on it.
        #expect(verdict(full, policy, day: 83) == "incremental")
        #expect(verdict(differential, policy, day: 83) == "incremental")
        #expect(verdict(full, policy, day: 84).hasPrefix("full"))
        #expect(verdict(third, day: 10_000) == "incremental")
        // A clock that went back says nothing.
        let future = try document(3, upon: differential, size: 1000, day: 9000)
        #expect(verdict(future, policy, day: 0) == "incremental")
    }

    @Test func sizes() throws {
        let big: Int64 = 1 << 30
        func head(_ sizes: Int64...) throws -> Metadata {
            try sizes.enumerated().reduce(nil as Metadata?) {
                try document(Int64($1.offset) + 1, upon: $0, size: $1.element)
            } ?? document(1, upon: nil, size: 1000)
        }
        #expect(verdict(try head(big, 1000, big / 4 - 1)) == "incremental")
        #expect(
            verdict(try head(big, 1000, big / 8, big / 8))
                == "differential: what lies behind the last differential backup, generation 2, has a quarter of the size of the full one"
        )
        #expect(verdict(try head(big, big / 2, big / 4)).hasPrefix("full: what lies behind"))
        #expect(verdict(try head(big, big / 2 - 1, big / 4)).hasPrefix("differential: "))
        // What is read in a moment is left alone.
        #expect(verdict(try head(Policy.trifle - 1, 1 << 40, 1 << 40)) == "incremental")
    }

    @Test func aChainEndsWhateverTheClockSays() throws {
        var head = try document(1, upon: nil, size: 1000, day: 9000)
        for generation in 2...(Policy.longest + 2) {
            head = try document(generation, upon: head, size: 1000, day: 9000)
        }
        #expect(
            verdict(head, weeks(24, 4))
                == "differential: 1000 backups lie behind the last differential backup, generation 2")
    }

    @Test func whichSnapshotItTakes() throws {
        let first = try Sample.first()
        let second = try Sample.incremental(2, upon: first)
        let third = try Sample.incremental(3, upon: second)
        let root = try Sample.snapshot("root", uuid(1))
        let newest = try Sample.snapshot("current-parent", uuid(3))
        let late = try #require(Time("2027-01-01T00:00:00Z"))
        func plan(_ snapshots: [Snapshot], _ policy: Policy = Sample.never) throws -> Plan {
            try Sample.plan([first, second, third], snapshots, policy: policy, at: late)
        }
        var made = try plan([root, newest])
        #expect(made.parent?.generation == 3 && made.source?.slot == "current-parent")
        #expect(made.json["chain"]?["count"] == 1 && made.json["chain"]?["size"] == third["size"])
        made = try plan([root, newest], weeks(52, 4))
        #expect(made.type == .incremental && made.parent?.generation == 1 && made.source?.slot == "root")
        #expect(made.previous?.generation == 3 && made.json["chain"] == .null)
        #expect(
            made.reason
                == "differential, from the full backup, generation 1, whose snapshot is here, in root: "
                + "the last differential backup, generation 2, is 39 days old")
        // It is what the record says, too.
        #expect(try Plan(made.json, at: "test").json == made.json)
        // Without the newest one's snapshot the full one's will do; without that, there is nothing to build on.
        made = try plan([root])
        #expect(made.parent?.generation == 1)
        #expect(made.reason.contains("in root: the only snapshot here is not that of generation 3"))
        made = try plan([newest], weeks(52, 4))
        #expect(made.type == .full && made.parent == nil)
        #expect(
            made.reason.hasPrefix(
                "the last differential backup, generation 2, is 39 days old, but the only snapshot here is not that of generation 1"
            ))
        #expect(try plan([root, newest], weeks(4, 52)).type == .full)
        // A run that died before its snapshot moved on is brought to its end first.
        made = try plan([root, try Sample.snapshot("current-state", uuid(3))], weeks(4, 4))
        #expect(made.parent?.generation == 3 && made.source?.slot == "current-state")
    }

    // MARK: - The table in escapepod(7)

    /// A year of daily backups of 500 GB, of which 1 % changes each day, anywhere in it.
    ///
    /// - Parameter policy: nil where each builds on the one before.
    /// - Returns: in GB what is stored, the most that a restore reads, and in how many backups.
    private func year(_ policy: Policy?) throws -> (stored: Int64, read: Int64, backups: Int64) {
        let all = 500e9
        func changed(in days: Int64) -> Int64 {
            var same = 1.0
            for _ in 0..<days { same *= 0.99 }
            return Int64(all * (1 - same))
        }
        var head = try document(1, upon: nil, size: Int64(all))
        var days = (full: Int64(0), last: Int64(0))
        var (stored, read, backups) = (head.backup.size, head.backup.size, Int64(1))
        for day in 1..<Int64(365) {
            let generation = day + 1
            switch policy?.verdict(on: head, at: Time(seconds: day * 86400)) {
            case .full:
                head = try document(generation, upon: nil, size: Int64(all), day: day)
                days.full = day
            case .differential:
                let root = try document(head.root.generation, upon: nil, size: head.root.size, day: days.full)
                head = try document(generation, upon: root, size: changed(in: day - days.full), day: day)
            case .incremental, nil:
                head = try document(generation, upon: head, size: changed(in: day - days.last), day: day)
            }
            days.last = day
            stored += head.backup.size
            let chain =
                head.differential.map { head.root.size + $0.size + head.behind.size } ?? head.root.size
            read = max(read, chain)
            backups = max(backups, head.differential == nil ? 1 : 2 + head.behind.count)
        }
        return (stored / 1_000_000_000, read / 1_000_000_000, backups)
    }

    @Test func theTableInTheManual() throws {
        let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        let page = try Descriptor(opening: "/\(root)/man/escapepod.7", 0).readAll(limit: 1 << 20)
        let rows = String(decoding: page, as: UTF8.self).split(separator: "\n").filter {
            $0.hasPrefix(".It Cm ") && $0.contains(" GB ")
        }
        let never = try year(nil)
        let policies = [("24w", "4w", weeks(24, 4)), ("12w", "1w", weeks(12, 1))]
        let years = try [("none", "none", never)] + policies.map { ($0.0, $0.1, try year($0.2)) }
        #expect(
            rows.map(String.init)
                == years.map {
                    ".It Cm \($0.0) Ta Cm \($0.1) Ta \($0.2.stored) GB Ta \($0.2.read) GB Ta \($0.2.backups)"
                })
        // At such a rate the sizes decide.
        #expect(try year(weeks(nil, nil)) == policies.map { try year($0.2) }[0])
    }
}
