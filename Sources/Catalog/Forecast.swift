import JSON
import Plumbing

/// What is to come of a store at the present rate: what the next prune takes, and when there is no room left.
struct Forecast: Sendable {
    /// What the next prune would take; nil without rules, or where they give no decision.
    private(set) var going: (backups: Int64, bytes: Int64)?
    /// Why there is no decision; nil where there is one, or no rule.
    private var doubt: String?
    /// In bytes; nil where the store does not know.
    private(set) var room: Int64?
    /// Bytes a day, of late; nil where that is not known yet.
    private(set) var growth: Int64?

    /// In days; what is full before that needs attention.
    static let soon: Int64 = 7
    /// Of what the rate is taken, in days, at most.
    private static let window: Int64 = 30
    private static let day: Int64 = 86400

    /// Of what nothing is known.
    init() {}

    init(of history: History, under rules: Retention.Rules, room: Int64?, at now: Time, in store: String) {
        self.room = room
        if !rules.isEmpty {
            do {
                let retention = try Retention(of: history, under: rules, at: now, in: store)
                going = (Int64(retention.going.count), retention.freed)
            } catch { doubt = (error as? Failure)?.what ?? "\(error)" }
        }
        let backups = history.entries.compactMap(\.backup)
        guard backups.count > 1, let first = Time(backups[0].date), now > first else { return }
        let days = max(1, min(Forecast.window, now.since(first) / Forecast.day))
        // What a history begins with is no rate.
        let late = backups.dropFirst().filter {
            Time($0.date).map { now.since($0) <= days * Forecast.day } ?? false
        }
        growth = late.reduce(0) { $0 + $1.size } / days
    }

    /// Until the store is full.
    var days: Int64? {
        guard let room, let growth, growth > 0 else { return nil }
        return room / growth
    }

    /// For people, each with its label.
    var rows: [(String, String)] {
        var rows: [(String, String)] = []
        if let going {
            rows.append(("next prune", "\(count(going.backups, "backup")) would go, \(size(going.bytes))"))
        } else if let doubt {
            rows.append(("next prune", "not known: \(doubt)"))
        }
        if let room {
            let until = days.map { $0 > 3650 ? "not full in ten years" : "full in about \(count($0, "day"))" }
            let rate = growth.map { " at \(size($0)) a day" } ?? ""
            rows.append(("room", size(room) + (until.map { ", \($0)\(rate)" } ?? "")))
        }
        return rows
    }

    private func size(_ bytes: Int64) -> String { readable(bytes: UInt64(clamping: bytes)) }

    var nextPrune: JSON {
        going.map { ["backups": .integer($0.backups), "bytes": .integer($0.bytes)] } ?? .null
    }

    var roomRecord: JSON {
        room.map {
            [
                "bytes": .integer($0), "bytesPerDay": growth.map { .integer($0) } ?? .null,
                "days": days.map { .integer($0) } ?? .null,
            ]
        } ?? .null
    }
}
