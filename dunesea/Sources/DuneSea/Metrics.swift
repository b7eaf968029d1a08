import StoreFormat
import Synchronization

/// What the metrics listener shows, in Prometheus's text format.
final class Metrics: Sendable {
    private struct Counts {
        var requests: [String: UInt64] = [:]
        var received: UInt64 = 0
        var sent: UInt64 = 0
        var cut: UInt64 = 0
        var turnedAway: UInt64 = 0
        var faults: UInt64 = 0
    }

    private let counts = Mutex(Counts())

    func answered(_ method: String, _ status: Int) {
        counts.withLock { $0.requests["method=\"\(method)\",status=\"\(status)\"", default: 0] += 1 }
    }

    func received(_ bytes: Int) { counts.withLock { $0.received += UInt64(bytes) } }
    func sent(_ bytes: Int) { counts.withLock { $0.sent += UInt64(bytes) } }
    /// A connection whose client did not move.
    func cut() { counts.withLock { $0.cut += 1 } }
    /// A connection of an address that had too many.
    func turnedAway() { counts.withLock { $0.turnedAway += 1 } }
    /// An error of the disk.
    func faulted() { counts.withLock { $0.faults += 1 } }

    func text(of store: Store) -> String {
        let counts = counts.withLock { $0 }
        var text = ""
        func show(_ name: String, _ kind: String, _ help: String, _ values: [(String, UInt64)]) {
            text += "# HELP dunesea_\(name) \(help)\n# TYPE dunesea_\(name) \(kind)\n"
            for (labels, value) in values {
                text += "dunesea_\(name)\(labels.isEmpty ? "" : "{\(labels)}") \(value)\n"
            }
        }
        let shelves = store.allShelves.sorted { $0.domain.description < $1.domain.description }
        func perDomain(_ value: (Shelf) -> UInt64) -> [(String, UInt64)] {
            shelves.map { ("domain=\"\($0.domain)\"", value($0)) }
        }
        show(
            "requests_total", "counter", "Requests answered.",
            counts.requests.sorted { $0.key < $1.key }.map { ($0.key, $0.value) })
        show(
            "received_bytes_total", "counter", "Bytes of blobs and metadata received.",
            [("", counts.received)])
        show("sent_bytes_total", "counter", "Bytes of blobs and metadata sent.", [("", counts.sent)])
        show(
            "slow_clients_total", "counter", "Connections closed because the client made no progress.",
            [("", counts.cut)])
        show(
            "turned_away_total", "counter",
            "Connections closed because their address had too many without a token.",
            [("", counts.turnedAway)])
        show(
            "disk_errors_total", "counter", "Errors of the store's disk, including a full one.",
            [("", counts.faults)])
        show("used_bytes", "gauge", "Bytes stored, including unfinished uploads.", perDomain(\.used))
        show("backups", "gauge", "Backups in the history.", perDomain { UInt64($0.backups) })
        show(
            "unfinished_uploads", "gauge", "Uploads not yet finished.", perDomain { UInt64($0.uploads.count) }
        )
        return text
    }
}
