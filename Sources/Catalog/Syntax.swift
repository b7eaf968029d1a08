import Envelope
import JSON
import Plumbing

/// Refuses a domain that a person typed wrongly.
///
/// - Throws: `usage`, unless it is 1 to 253 characters of `a-z 0-9 . _ -` and does not start with a dot.
public func require(domain: String) throws {
    guard domain.isDomain else {
        throw Failure(
            .usage, "not a valid domain", at: printable(domain),
            hint: "1 to 253 characters of a-z 0-9 . _ -, not starting with a dot")
    }
}

extension String {
    /// Lower-case hexadecimal, 8-4-4-4-12 (RFC 9562).
    var isUUID: Bool {
        let groups = utf8.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
        return groups.map(\.count) == [8, 4, 4, 4, 12]
            && String(decoding: groups.joined(), as: UTF8.self).isHex(bytes: 16)
    }

    /// `2026-11-23T06:10:00Z`: RFC 3339, UTC, whole seconds, a day that the calendar has.
    var isDate: Bool {
        let text = Array(utf8)
        let form = Array("0000-00-00T00:00:00Z".utf8)
        let zero = UInt8(ascii: "0")
        guard text.count == form.count,
            zip(text, form).allSatisfy({ $1 == zero ? zero...(zero + 9) ~= $0 : $0 == $1 })
        else { return false }
        func number(_ range: Range<Int>) -> Int { text[range].reduce(0) { $0 * 10 + Int($1 - zero) } }
        let year = number(0..<4)
        let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        let days = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        let month = number(5..<7)
        return 1...12 ~= month && 1...days[month - 1] ~= number(8..<10)
            && number(11..<13) < 24 && number(14..<16) < 60 && number(17..<19) < 60
    }
}

extension Members {
    func uuid(_ name: String) throws -> String { try checked(name, string(name)) }

    func uuidOrNull(_ name: String) throws -> String? {
        try stringOrNull(name).map { try checked(name, $0) }
    }

    private func checked(_ name: String, _ uuid: String) throws -> String {
        guard uuid.isUUID else { throw failure(name, "is not a UUID in lower case") }
        return uuid
    }

    func domain(_ name: String) throws -> String {
        let domain = try string(name)
        guard domain.isDomain else { throw failure(name, "is not a valid domain") }
        return domain
    }

    func date(_ name: String) throws -> String {
        let date = try string(name)
        guard date.isDate else { throw failure(name, "is not a date such as 2026-11-23T06:10:00Z") }
        return date
    }

    func digest(_ name: String, bytes: Int) throws -> String {
        let digest = try string(name)
        guard digest.isHex(bytes: bytes) else {
            throw failure(name, "is not a digest of \(2 * bytes) lower-case hexadecimal digits")
        }
        return digest
    }

    /// A count from `least` up, and at most so far below 2^63 that one more still fits.
    func count(_ name: String, from least: Int64, to most: Int64 = .max - 1) throws -> Int64 {
        let count = try integer(name)
        guard least...most ~= count else { throw failure(name, "is out of range: \(count)") }
        return count
    }

    /// The number of a backup, 1 to `Backup.lastGeneration`.
    func generation(_ name: String) throws -> Int64 {
        try count(name, from: 1, to: Backup.lastGeneration)
    }

    /// The length of a sealed stream, in bytes.
    func size(_ name: String) throws -> Int64 {
        try count(name, from: Int64(Envelope.minimumLength), to: Int64(Envelope.maximumLength))
    }

    func type(_ name: String) throws -> BackupType {
        guard let type = BackupType(rawValue: try string(name)) else {
            throw failure(name, "is neither full nor incremental")
        }
        return type
    }

    /// A string that is not empty and that a shell variable can hold.
    func text(_ name: String) throws -> String {
        let text = try string(name)
        guard !text.isEmpty else { throw failure(name, "is empty") }
        guard !text.utf8.contains(0) else { throw failure(name, "contains a zero byte") }
        return text
    }
}
