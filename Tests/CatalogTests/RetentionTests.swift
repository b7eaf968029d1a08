import JSON
import Plumbing
import Testing

@testable import Catalog

/// Numbers that are the same in every run.
private struct Dice: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        // SplitMix64.
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }
}

@Suite struct Retentions {
    private static let day: Int64 = 86400
    private static let start: Int64 = 1_800_000_000 / 86400 * 86400

    /// A history of backups, each on those days, and upon that one of the others; nil for a full one.
    private func history(
        _ backups: [(days: Double, upon: Int?)], pruned: [Int64] = []
    ) throws -> History {
        var documents: [JSON] = []
        for (index, backup) in backups.enumerated() {
            let generation = Int64(index) + 1
            let date = Time(seconds: Retentions.start + Int64(backup.days * 86400)).date
            var members = try Sample.backup(generation, backup.upon == nil ? "full" : "incremental")
            members = members.map {
                switch $0.name {
                case "date": .init("date", .string(date))
                case "uuid": .init("uuid", .string("00000000-0000-0000-0000-" + generation.padded(to: 12)))
                default: $0
                }
            }
            if let last = documents.last { members.append(try Sample.previous(generation - 1, of: last)) }
            if let upon = backup.upon {
                let base = try Sample.document(documents[upon]).metadata
                members.append(.init("parent", base.backup.json))
                if let chain = Ancestry(upon: base) { members.append(.init("chain", chain.json)) }
            }
            documents.append(.object(members))
        }
        let read = try documents.map { try Sample.document($0).metadata.backup }
        var lines = zip(read, documents).map { "\($0.sha256) \($1)\n" }
        if !pruned.isEmpty {
            let items = pruned.map { Pruning.Item(read[Int($0) - 1]) }
            let pruning = Pruning(
                domain: Sample.domain, at: Time(seconds: Retentions.start), policy: "p", pruned: items)
            lines.append(String(repeating: "0", count: 64) + " pruning \(pruning.json)\n")
        }
        let input = try Descriptor.containing(lines.joined() + "end \(lines.count)\n")
        return try History(of: Sample.domain, from: input) { _ in }
    }

    private func retention(
        _ backups: [(days: Double, upon: Int?)], _ keep: String = "", last: Int = 0, minimum: Int64 = 0,
        at now: Double? = nil, pruned: [Int64] = []
    ) throws -> Retention {
        let periods = keep.split(separator: " ").compactMap { Retention.Periods($0) }
        let now = now ?? (backups.map(\.days).max() ?? 0)
        return try Retention(
            of: history(backups, pruned: pruned),
            under: .init(periods: periods, last: last, minimumAge: minimum),
            at: Time(seconds: Retentions.start + Int64(now * 86400)), in: "store")
    }

    private func staying(_ retention: Retention) -> [Int64] {
        retention.verdicts.filter(\.stays).map(\.backup.generation)
    }

    @Test func theFirstOfEach() throws {
        // Four a day for three days, all full.
        let daily = (0..<12).map { (Double($0) / 4, nil as Int?) }
        #expect(try staying(retention(daily, "1d")) == [9, 11, 12])
        #expect(try staying(retention(daily, "2d")) == [5, 9, 11, 12])
        #expect(try staying(retention(daily, "9d")) == [1, 5, 9, 11, 12])
        #expect(try staying(retention(daily, "2h 1d")) == [9, 11, 12])
        #expect(try staying(retention(daily, last: 3)) == [10, 11, 12])
        #expect(
            try staying(retention(daily, last: 1, minimum: Retentions.day))
                == [8, 9, 10, 11, 12].filter { $0 > 8 })
        let monthly = (0..<24).map { (Double($0) * 30.5, nil as Int?) }
        #expect(try staying(retention(monthly, "2y")).count <= 4)
        #expect(try staying(retention(monthly, "30m")).count == 24)
    }

    @Test func whatIsBuiltUpon() throws {
        // Full, three behind it, a differential one, one behind that; then another full one.
        let chain: [(Double, Int?)] = [(0, nil), (1, 0), (2, 1), (3, 2), (4, 0), (5, 4), (6, nil)]
        let it = try retention(chain, last: 1)
        #expect(staying(it) == [1, 7])
        #expect(
            it.freed == it.going.reduce(0) { $0 + $1.size } && it.going.map(\.generation) == [2, 3, 4, 5, 6])
        #expect(try staying(retention(chain, last: 2)) == [1, 5, 6, 7])
        #expect(try staying(retention(Array(chain[..<4]), last: 1)) == [1, 2, 3, 4])
        #expect(
            it.page.hasPrefix(
                "generation 1, full, 2027-01-15T00:00:00Z, 1.2 MiB: stays: one of the last two full ones\n"))
        #expect(it.page.hasSuffix("5 of 7 backups go, with 5.9 MiB\n"))
        // What was pruned is no candidate, and what builds on it is of no use.
        let rest = try retention(chain, "9d", pruned: [3])
        #expect(rest.verdicts.map(\.backup.generation) == [1, 2, 4, 5, 6, 7])
        #expect(staying(rest) == [1, 2, 5, 6, 7])
    }

    @Test func clocks() throws {
        let backups: [(Double, Int?)] = [(0, nil), (1, 0), (2, 1)]
        #expect(failure { _ = try retention(backups, last: 1, at: 1.9) }?.status == .badData)
        #expect(
            failure { _ = try retention(backups, last: 1, at: 403) }?.what.contains("the newest backup is of")
                == true)
        #expect(try !staying(retention(backups, last: 1, at: 402)).isEmpty)
        // Many that claim to be old do not make the young ones go.
        let forged: [(Double, Int?)] =
            (0..<10).map { (Double($0), nil as Int?) } + (0..<60).map { (Double(-$0) - 1, nil) } + [(10, nil)]
        let young = try staying(retention(forged, "3d", minimum: 8 * Retentions.day))
        for generation in Int64(4)...10 { #expect(young.contains(generation), "\(generation)") }
    }

    @Test func noRuleAndNoHistory() throws {
        #expect(failure { _ = try retention([(0, nil)]) }?.status == .usage)
        #expect(failure { _ = try retention([], last: 1) }?.status == .notFound)
        #expect(
            ["", "d", "0d", "10000d", "-1d", "1.5d", "3x", "d3", "+3d"].allSatisfy {
                Retention.Periods($0) == nil
            })
    }

    @Test func aHistoryThatIsNotWhole() throws {
        let history = try history([(0, nil), (1, 0), (2, 1)])
        let documents = history.entries.count
        #expect(documents == 3)
        let damaged = try Descriptor.containing("\(history.entries[0].blob) damaged\nend 1\n")
        let read = try History(of: Sample.domain, from: damaged) { _ in }
        #expect(
            failure {
                _ = try Retention(
                    of: read, under: .init(periods: [], last: 1, minimumAge: 0), at: Time(seconds: 0),
                    in: "store")
            }?.status == .badData)
    }

    /// Whatever the history, its clocks and the rules.
    @Test func whatAlwaysHolds() throws {
        var dice = Dice(state: 7)
        for _ in 0..<12 {
            var backups: [(days: Double, upon: Int?)] = []
            var days = 0.0
            for index in 0..<Int.random(in: 1...25, using: &dice) {
                // Forward, now and then a long way back or ahead.
                days += [0.02, 0.3, 1, 1, 1, 9, -6, 40, -40][Int.random(in: 0..<9, using: &dice)]
                let upon: Int? =
                    switch Int.random(in: 0..<6, using: &dice) {
                    case 0: nil
                    case 1: (0..<index).last { backups[$0].upon == nil }
                    default: index - 1
                    }
                backups.append((days, index == 0 ? nil : upon))
            }
            let keep = ["", "3d", "2h 4d 1y", "2w 2m"][Int.random(in: 0..<4, using: &dice)]
            let last = Int.random(in: keep.isEmpty ? 1...5 : 0...5, using: &dice)
            let minimum = Int64.random(in: 0...5, using: &dice) * Retentions.day
            let now = max(backups[backups.count - 1].days, days) + 0.5
            let it = try retention(backups, keep, last: last, minimum: minimum, at: now)
            let stays = Set(staying(it))
            #expect(stays.contains(Int64(backups.count)))
            #expect(stays.isDisjoint(with: it.going.map(\.generation)))
            #expect(stays.count + it.going.count == backups.count)
            for (index, backup) in backups.enumerated() {
                let generation = Int64(index) + 1
                if stays.contains(generation), let upon = backup.upon {
                    #expect(stays.contains(Int64(upon) + 1))
                }
                if now - backup.days < Double(minimum) / 86400 - 0.001 { #expect(stays.contains(generation)) }
                if index >= backups.count - last { #expect(stays.contains(generation)) }
            }
            let full = backups.indices.filter { backups[$0].upon == nil }.suffix(2)
            #expect(full.allSatisfy { stays.contains(Int64($0) + 1) })
            // More rules keep more.
            let more = try retention(backups, keep + " 9d", last: last + 1, minimum: minimum, at: now)
            #expect(stays.isSubset(of: staying(more)))
            // And what has gone once is not missed.
            let again = try retention(
                backups, keep, last: last, minimum: minimum, at: now, pruned: it.going.map(\.generation))
            #expect(Set(staying(again)) == stays && again.going.isEmpty)
        }
    }
}
