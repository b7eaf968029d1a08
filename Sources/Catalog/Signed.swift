public import JSON
import Plumbing

/// A record on one line whose last member, `mac`, tells that a holder of the key has written it: escapepod(1), FILES.
public enum Signed {
    private static let front = Array(",\"mac\":\"".utf8)
    private static let back = Array("\"}".utf8)
    private static let macLength = 64

    /// The line of a record, with its newline.
    ///
    /// - Parameter mac: makes the MAC of the record's line without it, in lower-case hex.
    public static func line(_ record: JSON, mac: ([UInt8]) throws -> String) rethrows -> [UInt8] {
        let text = Array("\(record)".utf8)
        return try text.dropLast() + front + Array(mac(text).utf8) + back + [UInt8(ascii: "\n")]
    }

    /// Reads such a line.
    ///
    /// - Parameter accepts: whether the MAC is that of the text.
    /// - Returns: the record, its MAC included; nil where it is none that a holder of the key has written.
    public static func record(
        _ line: [UInt8], accepts: (_ mac: String, _ text: [UInt8]) throws -> Bool
    ) rethrows -> JSON? {
        let line = line.last == UInt8(ascii: "\n") ? line.dropLast() : line[...]
        let tail = line.suffix(front.count + macLength + back.count)
        let mac = String(decoding: tail.dropFirst(front.count).dropLast(back.count), as: UTF8.self)
        guard tail.starts(with: front), tail.suffix(back.count).elementsEqual(back), mac.isHex(bytes: 32),
            try accepts(mac, line.dropLast(tail.count) + [UInt8(ascii: "}")])
        else { return nil }
        return try? JSON(parsing: Array(line), at: "record")
    }
}

/// What verify and drill found, and what a backup ended in: the records that a machine keeps of a store.
public enum StateRecord {
    public static func verify(
        of history: History, store: String, audit: Audit, started: String, finished: String, sample: Int?,
        blobs: Int64, bytes: Int64
    ) -> JSON {
        [
            "version": 1, "domain": .string(history.domain), "store": .string(store),
            "started": .string(started), "finished": .string(finished),
            "sample": sample.map { .integer(Int64($0)) } ?? .null,
            "backups": .integer(Int64(history.entries.count)), "blobs": .integer(blobs),
            "bytes": .integer(bytes), "problems": .integer(Int64(audit.faults.count)),
            "damaged": .array(audit.faults),
        ]
    }

    /// - Parameters:
    ///   - generation: nil where it did not come to that, and so `uuid` is empty.
    ///   - likeness: the record of `ep-snap compare`, where it came to that.
    public static func drill(
        domain: String, store: String, generation: Int64?, uuid: String, started: String, finished: String,
        seconds: Int64, result: String, likeness: JSON?
    ) -> JSON {
        var members: [JSON.Member] = [
            .init("version", 1), .init("domain", .string(domain)), .init("store", .string(store)),
            .init("generation", generation.map { .integer($0) } ?? .null), .init("uuid", .string(uuid)),
            .init("started", .string(started)), .init("finished", .string(finished)),
            .init("seconds", .integer(seconds)), .init("result", .string(result)),
        ]
        if case .object(let others)? = likeness { members += others }
        return .object(members)
    }

    /// What came of a drill, for people.
    public static func summary(ofDrill record: JSON) -> String {
        func number(_ name: String) -> Int64 {
            if case .integer(let value)? = record[name] { value } else { 0 }
        }
        let took = "it took \(span(number("seconds")))"
        guard record["result"] == "proven" else { return took }
        let bytes = readable(bytes: UInt64(clamping: number("bytes")))
        return "\(count(number("files"), "file")), \(bytes), all as they were; \(took)"
    }

    public static func failure(
        domain: String, store: String, finished: String, status: Int32, what: String
    ) -> JSON {
        [
            "version": 1, "domain": .string(domain), "store": .string(store), "finished": .string(finished),
            "exit": .integer(Int64(status)), "what": .string(what),
        ]
    }
}
