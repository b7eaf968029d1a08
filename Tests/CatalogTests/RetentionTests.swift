import JSON
import OpenSSL
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
    ///
    /// - Parameter naming: what each of them names.
    private func history(
        _ backups: [(days: Double, upon: Int?)], pruned: [Int64] = [], of domain: String = Sample.domain,
        naming: [[NamedBackup]?] = []
    ) throws -> History {
        var documents: [JSON] = []
        for (index, backup) in backups.enumerated() {
            let generation = Int64(index) + 1
            let date = Time(seconds: Retentions.start + Int64(backup.days * 86400)).date
            var members = try Sample.backup(generation, backup.upon == nil ? "full" : "incremental")
            members = members.map {
                switch $0.name {
                case "domain": .init("domain", .string(domain))
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
            if index < naming.count, let named = naming[index] {
                members.append(.init("members", .array(named.map(\.json))))
            }
            documents.append(.object(members))
        }
        let read = try documents.map { try Sample.document($0).metadata.backup }
        var lines = zip(read, documents).map { "\($0.sha256) \($1)\n" }
        if !pruned.isEmpty {
            let items = pruned.map { Pruning.Item(read[Int($0) - 1]) }
            let pruning = Pruning(
                domain: domain, at: Time(seconds: Retentions.start), policy: "p", pruned: items)
            lines.append(String(repeating: "0", count: 64) + " pruning \(pruning.json)\n")
        }
        let input = try Descriptor.containing(lines.joined() + "end \(lines.count)\n")
        return try History(of: domain, from: input) { _ in }
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

    // MARK: Members of a machine

    private static let home = "home.\(Sample.domain)"

    private func named(_ generation: Int64, of domain: String = home) throws -> NamedBackup {
        let digest = try Digest.hex(.sha256, of: Array("\(generation)".utf8))
        return NamedBackup(domain: domain, generation: generation, sha256: digest)
    }

    /// What stays of a member, of which the sets name those generations.
    private func retention(
        ofMember backups: [(days: Double, upon: Int?)], named items: [Naming.Item], minimum: Int64 = 0,
        at now: Double,
        pruned: [Int64] = [], of domain: String = home
    ) throws -> Retention {
        try Retention(
            of: history(backups, pruned: pruned, of: domain),
            under: .init(periods: [], last: 0, minimumAge: minimum, named: Naming(items: items)),
            at: Time(seconds: Retentions.start + Int64(now * 86400)), in: "store")
    }

    @Test func whatSetsNeedOfAMember() throws {
        // Full, three behind it, two more full ones, and one behind the last.
        let backups: [(Double, Int?)] = [(0, nil), (1, 0), (2, 1), (3, 2), (4, nil), (5, nil), (6, 5)]
        let items = [Naming.Item(backup: try named(3), set: 9), .init(backup: try named(6), set: 11)]
        let it = try retention(ofMember: backups, named: items, at: 7)
        #expect(staying(it) == [1, 2, 3, 5, 6, 7])
        #expect(
            it.page.contains(
                "generation 3, incremental, 2027-01-17T00:00:00Z, 1.2 MiB: stays: generation 9 of the machine needs it\n"
            ))
        #expect(it.page.contains("stays: not part of a set yet; the newest\n"))
        // Those of another domain are none of its own, and without any it is not known that anything may go.
        let other = [Naming.Item(backup: try named(6, of: "root.\(Sample.domain)"), set: 9)]
        #expect(try retention(ofMember: backups, named: other, at: 7).going.isEmpty)
        #expect(try retention(ofMember: backups, named: [], at: 7).going.isEmpty)
        // It may have left the machine years ago; but the clock is wrong where it is of the future.
        #expect(try staying(retention(ofMember: backups, named: items, at: 2000)) == [1, 2, 3, 5, 6, 7])
        #expect(failure { _ = try retention(ofMember: backups, named: items, at: 5) }?.status == .badData)
        // What was pruned is gone, and nothing more of what it was part of goes.
        #expect(
            try staying(retention(ofMember: backups, named: items, at: 7, pruned: [2])) == [1, 3, 5, 6, 7])
        for wrong in [
            try named(8), NamedBackup(domain: Retentions.home, generation: 2, sha256: try named(3).sha256),
            NamedBackup(domain: Retentions.home, generation: 3, sha256: String(repeating: "0", count: 64)),
        ] {
            let failed = failure {
                _ = try retention(ofMember: backups, named: items + [.init(backup: wrong, set: 4)], at: 7)
            }
            #expect(
                failed?.status == .badData
                    && failed?.what.contains("needs generation \(wrong.generation) of \(Retentions.home)")
                        == true
            )
        }
    }

    @Test func whatSetsName() throws {
        let backups: [(Double, Int?)] = [(0, nil), (1, 0), (2, 1), (3, nil)]
        let sets = [
            [try named(1)], nil, [try named(2), try named(7, of: "a.\(Sample.domain)")], [try named(4)],
        ]
        let history = try history(backups, naming: sets)
        let all = history.entries.compactMap(\.backup)
        let naming = try Naming(of: [all[0], all[2]], in: history, of: "store")
        #expect(naming.items.map(\.set) == [3, 1, 3] && naming.items.map(\.backup.generation) == [7, 1, 2])
        let read = try Naming(from: .containing(naming.text))
        #expect(read.items == naming.items)
        #expect(try Naming(of: [all[1]], in: history, of: "store").text == "end 0\n")
        let failed = failure { _ = try Naming(of: all, in: history, of: "store") }
        #expect(
            failed?.status == .badData
                && failed?.what == "generation 2 does not name the backups of its members, as others do")
        // What is cut would let go of what is needed.
        let text = naming.text
        for bad in [
            "", String(text.dropLast()), String(text.dropLast(6)), text + "x", text + "end 3\n", "end 1\n",
            text.uppercased(), text.replacing(" 7 ", with: "  7 "),
            String(text.drop { $0 != "\n" }.dropFirst()),
        ] {
            #expect(
                failure { _ = try Naming(from: .containing(bad)) }?.what == "not what sets name", "\(bad)")
        }
    }

    /// Whatever the histories of a machine and its members, and the rules.
    @Test func whatASetNamesStays() throws {
        var dice = Dice(state: 11)
        let domains = ["home", "root"].map { "\($0).\(Sample.domain)" }
        for _ in 0..<6 {
            let days = (0..<Int.random(in: 1...6, using: &dice)).map(Double.init)
            func chain(_ days: [Double]) -> [(days: Double, upon: Int?)] {
                days.enumerated().map { index, day in
                    let upon = Int.random(in: 0..<4, using: &dice)
                    return (day, index == 0 || upon == 0 ? nil : index - (upon == 1 && index > 1 ? 2 : 1))
                }
            }
            let sets = chain(days)
            // Of a member there may be some more in front of those of a set, and behind the last; a set names the last before it.
            let members = domains.map { _ in
                let times = days.flatMap { day in
                    (0...Int.random(in: 0...2, using: &dice)).reversed().map { day - 0.1 - Double($0) / 8 }
                }
                let ahead = (0..<Int.random(in: 0...2, using: &dice)).map {
                    days[days.count - 1] + Double($0 + 1) / 8
                }
                return chain(times + ahead)
            }
            let naming = try days.map { day in
                try zip(domains, members).map { domain, backups in
                    try named(Int64(backups.lastIndex { $0.days < day } ?? 0) + 1, of: domain)
                }
            }
            let machine = try history(sets, naming: naming)
            let minimum = Int64.random(in: 0...2, using: &dice) * Retentions.day
            let now = Double(days.count) + 0.5
            let kept = try Retention(
                of: machine,
                under: .init(
                    periods: [], last: Int.random(in: 1...3, using: &dice), minimumAge: minimum),
                at: Time(seconds: Retentions.start + Int64(now * 86400)), in: "store")
            let items = try Naming(
                of: kept.verdicts.filter(\.stays).map(\.backup), in: machine, of: "store"
            ).items
            #expect(Set(items.map(\.set)) == Set(staying(kept)))
            for (domain, backups) in zip(domains, members) {
                let it = try retention(ofMember: backups, named: items, minimum: minimum, at: now, of: domain)
                let own = items.map(\.backup).filter { $0.domain == domain }
                let needed = own.map { Int($0.generation) - 1 }
                var expected = Set(needed)
                expected.formUnion((needed.max() ?? 0)..<backups.count)
                expected.formUnion(backups.indices.filter { backups[$0].upon == nil }.suffix(2))
                expected.formUnion(
                    backups.indices.filter { now - backups[$0].days < Double(minimum) / 86400 })
                for index in backups.indices.reversed() where expected.contains(index) {
                    if let upon = backups[index].upon { expected.insert(upon) }
                }
                #expect(staying(it) == expected.sorted().map { Int64($0) + 1 })
                guard !it.going.isEmpty else { continue }
                let again = try retention(
                    ofMember: backups, named: items, minimum: minimum, at: now,
                    pruned: it.going.map(\.generation),
                    of: domain)
                #expect(staying(again) == staying(it) && again.going.isEmpty)
            }
        }
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
