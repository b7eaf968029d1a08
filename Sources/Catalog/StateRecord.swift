public import JSON
import Plumbing

/// What verify and drill found, and how a backup failed: the records that a machine keeps of a store.
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
    ///   - generation: nil if the drill did not get that far; `uuid` is then empty.
    ///   - likeness: the record of `ep-snap compare` or `ep-layout boot`, if the drill got that far.
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
        if case .string(let state)? = record["state"] {
            return "it started in \(span(number("startup"))), and is \(printable(state)); \(took)"
        }
        let bytes = readable(bytes: UInt64(clamping: number("bytes")))
        return "\(count(number("files"), "file")), \(bytes), all identical; \(took)"
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
