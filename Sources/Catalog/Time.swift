import Plumbing

/// Whole seconds since 1970, UTC, as records write them and people read them.
public struct Time: Comparable, Sendable {
    /// Since 1970-01-01T00:00:00Z.
    public let seconds: Int64

    public init(seconds: Int64) { self.seconds = seconds }

    /// - Parameter date: as `2026-11-23T06:10:00Z`; nil for anything else.
    public init?(_ date: String) {
        guard date.isDate else { return nil }
        let text = Array(date.utf8)
        func number(_ range: Range<Int>) -> Int64 {
            text[range].reduce(0) { $0 * 10 + Int64($1 - UInt8(ascii: "0")) }
        }
        let days = Time.days(year: number(0..<4), month: number(5..<7), day: number(8..<10))
        seconds = ((days * 24 + number(11..<13)) * 60 + number(14..<16)) * 60 + number(17..<19)
    }

    /// As `2026-11-23T06:10:00Z`.
    public var date: String {
        let day = (seconds / 86400, seconds % 86400)
        // By months of 31 days at most, from March on: Howard Hinnant, chrono-compatible low-level date algorithms.
        let shifted = day.0 + 719_468
        let era = shifted / 146_097
        let inEra = shifted % 146_097
        let year = (inEra - inEra / 1460 + inEra / 36524 - inEra / 146_096) / 365
        let inYear = inEra - (365 * year + year / 4 - year / 100)
        let month = (5 * inYear + 2) / 153
        let number = (month + 2) % 12 + 1
        func two(_ value: Int64) -> String { value < 10 ? "0\(value)" : "\(value)" }
        return
            "\(year + era * 400 + (number <= 2 ? 1 : 0))-\(two(number))-\(two(inYear - (153 * month + 2) / 5 + 1))"
            + "T\(two(day.1 / 3600)):\(two(day.1 / 60 % 60)):\(two(day.1 % 60))Z"
    }

    /// Days from 1970-01-01 to a day of the Gregorian calendar, by the same algorithms.
    private static func days(year: Int64, month: Int64, day: Int64) -> Int64 {
        // Shifted by 400 years, so that nothing is below zero.
        let year = year + 400 - (month <= 2 ? 1 : 0)
        let inYear = (153 * ((month + 9) % 12) + 2) / 5 + day - 1
        let era = year / 400
        let inEra = year % 400
        return (era - 1) * 146_097 + inEra * 365 + inEra / 4 - inEra / 100 + inYear - 719_468
    }

    public static func < (one: Time, other: Time) -> Bool { one.seconds < other.seconds }

    /// The seconds from another time to this one; 0 where that comes later.
    public func since(_ other: Time) -> Int64 { max(0, seconds - other.seconds) }
}

/// A length of time, rounded down to its greatest unit: `3 days`.
public func span(_ seconds: Int64) -> String {
    let units: [(Int64, String)] = [(86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")]
    let (length, name) = units.first { seconds >= $0.0 } ?? (1, "second")
    return count(seconds / length, name)
}
