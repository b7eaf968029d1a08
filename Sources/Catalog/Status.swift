public import JSON
public import Plumbing

/// The records that a machine keeps of a store, as far as they are believed.
public struct Memory: Sendable {
    public var verified: JSON?
    public var sampled: JSON?
    /// Of drills the last one, and the last that proved a backup restorable.
    public var drilled: JSON?
    public var proven: JSON?
    /// What the last backup ended in, if it failed.
    public var failed: JSON?

    public init() {}

    /// What a sample found no longer counts after a later whole verify.
    public mutating func forgetOldSample() {
        if let verified = verified?.finished, let sampled = sampled?.finished, sampled <= verified {
            self.sampled = nil
        }
    }
}

/// Whether a machine could be restored now, as far as can be told: what `escapepod status` reports.
public struct Status: Sendable {
    /// Where the key is.
    public struct Key: Sendable {
        /// What is where a copy should be.
        public enum Copy: Sendable {
            case here
            case missing
            case anotherKey
        }

        public let id: String
        public let inStore: Copy
        /// The key space and what is in it, nil where it is not there; nil where no key space is known.
        public let space: (path: String, copy: Copy?)?

        public init(id: String, inStore: Copy, space: (path: String, copy: Copy?)?) {
            self.id = id
            self.inStore = inStore
            self.space = space
        }
    }

    public struct Warning: Sendable {
        public let what: String
        public let hint: String
    }

    private let domain: String
    private let store: String
    private let now: Time
    private let memory: Memory
    private let plan: Plan?
    private var newest: Backup?
    private var chain: (backups: Int64, bytes: Int64) = (0, 0)
    private var forecast = Forecast()
    private var key: Key?
    /// Whether the store answered.
    private var isThere = false
    /// The seconds since the newest backup.
    private var age: Int64 = 0
    /// What needs attention, without `told`.
    public private(set) var warnings: [Warning] = []
    /// What needs attention and has been reported.
    private let told: [String]

    /// What is known without the store.
    ///
    /// - Parameters:
    ///   - plan: of the next backup; nil where there is no volume.
    ///   - told: what was found elsewhere to need attention.
    public init(
        domain: String, store: String, at now: Time, memory: Memory, plan: Plan? = nil, told: [String] = []
    ) {
        self.domain = domain
        self.store = store
        self.now = now
        self.memory = memory
        self.plan = plan
        self.told = told
        lookAtMemory()
        if let warning = plan?.warning {
            warn(
                warning,
                "the store is an old copy, or somebody changed it; see escapepod-security(7)")
        }
    }

    /// Adds what the store shows.
    ///
    /// - Parameter limit: how old the newest backup may be, in seconds.
    /// - Throws: `notFound` where there is no backup; `badData` or `io` where one of the chain is damaged.
    public mutating func look(at history: History, key: Key, limit: Int64?) throws {
        isThere = true
        self.key = key
        guard let last = history.entries.last else {
            throw Failure(
                .notFound, "no backup of \(domain) yet", at: store, hint: "escapepod backup makes one")
        }
        let newest = try last.requireBackup(in: store)
        self.newest = newest
        let chain = try RestoreChain(to: nil, in: history, of: store)
        self.chain = (Int64(chain.backups.count), chain.size)
        let taken = Time(newest.date) ?? now
        age = now.since(taken)
        lookAtCopies(of: key)
        expectPast("the newest backup", taken)
        if let limit, age > limit {
            warn(
                "the newest backup is \(span(age)) old, but may be at most \(span(limit)) old",
                "find out why escapepod backup does not run, or fails")
        }
    }

    /// Adds what is to come, after what the store shows.
    ///
    /// - Parameter room: how many bytes the store has room for; nil where it does not know.
    public mutating func look(ahead history: History, under rules: Retention.Rules, room: Int64?) {
        forecast = Forecast(of: history, under: rules, room: room, at: now, in: store)
        guard let days = forecast.days, days < Forecast.soon else { return }
        warn(
            "the store will be full in about \(count(days, "day")): \(store)",
            "escapepod prune makes room, or take a larger store")
    }

    private mutating func lookAtCopies(of key: Key) {
        switch key.inStore {
        case .here: break
        case .missing:
            warn(
                "no copy of the key is in the store: \(store)",
                "ep-key wrap and ep-store key put one there, under a passphrase")
        case .anotherKey:
            warn(
                "the key in the store is another: \(store)", "ep-key wrap and ep-store key put this one there"
            )
        }
        // A drive that is kept elsewhere is not there, and that is as it should be.
        guard let space = key.space, let copy = space.copy, copy != .here else { return }
        warn("the key is not in the key space: \(space.path)", "copy it there as escapepod-\(domain).key")
    }

    private mutating func warn(_ what: String, _ hint: String) {
        warnings.append(Warning(what: what, hint: hint))
    }

    /// A date in the future says nothing of an age; two clocks may differ by minutes.
    private mutating func expectPast(_ what: String, _ time: Time) {
        guard time.seconds - now.seconds > 300 else { return }
        warn(
            "the date of \(what) is in the future: \(time.date)",
            "the clock of this machine is wrong, or was wrong then; until that date, its age is unknown"
        )
    }

    private mutating func lookAtMemory() {
        if let failed = memory.failed {
            warn(
                "the last backup failed with status \(failed.number("exit")) on \(failed.text("finished")): "
                    + failed.text("what"), "run escapepod backup to see why")
        }
        for record in [memory.verified, memory.sampled].compactMap(\.self) {
            if let finished = record.finished { expectPast("a verify", finished) }
            let problems = record.number("problems")
            if problems > 0 {
                warn(
                    "verify found \(problems) damaged or missing on \(record.text("finished"))",
                    "escapepod verify names them")
            }
        }
        if let proven = memory.proven?.finished { expectPast("a drill", proven) }
        guard let drilled = memory.drilled else { return }
        switch drilled.text("result") {
        case "differs":
            warn(
                "the last drill, of generation \(drilled.number("generation")) on \(drilled.text("finished")), "
                    + "restored something different", "escapepod drill names the differences")
        case "failed":
            warn(
                "the last drill, on \(drilled.text("finished")), failed to restore the backup",
                "escapepod verify names what is damaged")
        default: break
        }
    }

    public var exit: ExitStatus { warnings.isEmpty && told.isEmpty ? .done : .attention }
}

// MARK: - How it is said

extension Status {
    /// For people: a screen, or as much of it as is known without the store.
    public var page: String {
        var lines = ["\(domain) in \(store)"]
        func row(_ label: String, _ text: String) {
            lines.append("  " + (label + String(repeating: " ", count: 15)).prefix(15) + text)
        }
        func ago(_ record: JSON) -> String { "\(span(record.finished.map { now.since($0) } ?? 0)) ago" }
        if let newest {
            let exact = "\(age / 86400)d \(age / 3600 % 24)h \(age / 60 % 60)m"
            row(
                "last backup",
                "generation \(newest.generation), \(newest.type.rawValue), \(newest.date) (\(exact) ago)")
            if let plan { row("next backup", "\(plan.type.rawValue): \(plan.reason)") }
            row(
                "chain",
                "\(count(chain.backups, "backup")) to read, \(readable(bytes: UInt64(clamping: chain.bytes)))"
            )
        }
        for (label, text) in forecast.rows { row(label, text) }
        func verified(_ label: String, _ record: JSON) {
            let problems = record.number("problems")
            let share = record["sample"].flatMap { $0 == .null ? nil : ", \($0) %" } ?? ""
            row(
                label,
                "\(ago(record)): \(count(record.number("blobs"), "blob")), "
                    + readable(bytes: UInt64(clamping: record.number("bytes"))) + share
                    + (problems == 0 ? ", all whole" : ", \(problems) damaged or missing"))
        }
        if let record = memory.verified {
            verified("last verify", record)
        } else {
            row("last verify", "never")
        }
        if let record = memory.sampled { verified("last sample", record) }
        if let record = memory.proven {
            row(
                "last proven",
                "restorable: \(ago(record)), generation \(record.number("generation")), "
                    + "in \(span(record.number("seconds")))")
        } else {
            row("last proven", "restorable: never; escapepod drill proves it")
        }
        if let key {
            let space = key.space.map { "; \($0.copy == .here ? "in" : "not seen in") \($0.path)" } ?? ""
            row(
                "key",
                "here, id \(key.id); \(key.inStore == .here ? "in the store, under a passphrase" : "not in the store")\(space)"
            )
        }
        return lines.map { "\(printable($0))\n" }.joined()
    }

    /// The record of `--json`; nil without the store.
    public var json: JSON? {
        guard let newest, let key else { return nil }
        return [
            "domain": .string(domain), "store": .string(store), "status": .integer(Int64(exit.rawValue)),
            "lastBackup": [
                "generation": .integer(newest.generation), "type": .string(newest.type.rawValue),
                "date": .string(newest.date), "ageSeconds": .integer(age), "size": .integer(newest.size),
            ],
            "nextBackup": plan.map { ["type": .string($0.type.rawValue), "reason": .string($0.reason)] }
                ?? .null,
            "lastFailure": memory.failed ?? .null,
            "chain": ["backups": .integer(chain.backups), "bytes": .integer(chain.bytes)],
            "nextPrune": forecast.nextPrune, "room": forecast.roomRecord,
            "lastVerify": memory.verified ?? .null, "lastSample": memory.sampled ?? .null,
            "lastDrill": memory.drilled ?? .null, "lastProven": memory.proven ?? .null,
            "key": [
                "id": .string(key.id), "inStore": .bool(key.inStore == .here),
                "inKeySpace": .bool(key.space?.copy == .here),
            ],
            "warnings": .array((told + warnings.map(\.what)).map { .string($0) }),
        ]
    }

    /// In the text format of Prometheus, for node_exporter's textfile collector.
    ///
    /// - Parameter status: what `escapepod status` ends in; nil for what it finds.
    public func metrics(ending status: Int32?) -> String {
        var text = ""
        let labels = "{domain=\(JSON.string(domain)),store=\(JSON.string(store))}"
        func gauge(_ name: String, _ help: String, _ value: Int64) {
            let name = "escapepod_\(name)"
            text += "# HELP \(name) \(help)\n# TYPE \(name) gauge\n\(name)\(labels) \(value)\n"
        }
        gauge(
            "status", "The exit status of escapepod status: 0 all good, 3 something needs attention.",
            Int64(status ?? exit.rawValue))
        gauge("warnings", "How many things need attention.", Int64(told.count + warnings.count))
        gauge("store_up", "Whether the store answered.", isThere ? 1 : 0)
        if let newest {
            gauge(
                "last_backup_timestamp_seconds", "When the newest backup was taken.",
                Time(newest.date)?.seconds ?? 0)
            gauge("last_backup_generation", "The generation of the newest backup.", newest.generation)
            gauge("last_backup_size_bytes", "The sealed size of the newest backup.", newest.size)
            gauge("chain_backups", "How many backups a restore has to read.", chain.backups)
            gauge("chain_size_bytes", "How many bytes a restore has to read.", chain.bytes)
            if let going = forecast.going {
                gauge("prune_size_bytes", "How many bytes the next prune would free.", going.bytes)
            }
            if let room = forecast.room {
                gauge("room_bytes", "How many bytes the store has room for.", room)
                gauge(
                    "growth_bytes_per_day", "How many bytes a day were stored of late.", forecast.growth ?? 0)
            }
            gauge(
                "key_in_store", "Whether the store has the key, sealed under a passphrase.",
                key?.inStore == .here ? 1 : 0)
        }
        if let record = memory.verified {
            gauge(
                "last_verify_timestamp_seconds", "When the whole store was last verified.",
                record.finished?.seconds ?? 0)
            gauge(
                "last_verify_problems",
                "How many objects the last verify of the whole store found damaged or missing.",
                record.number("problems")
            )
        }
        if let record = memory.proven {
            gauge(
                "last_proven_timestamp_seconds", "When a backup was last proven restorable.",
                record.finished?.seconds ?? 0)
            gauge("last_proven_generation", "The generation of that backup.", record.number("generation"))
            gauge("last_proven_duration_seconds", "How long restoring it took.", record.number("seconds"))
        }
        return text
    }
}

extension JSON {
    /// Of a record that this machine wrote: 0 where it has no such number.
    fileprivate func number(_ name: String) -> Int64 {
        if case .integer(let value)? = self[name] { return value }
        return 0
    }

    /// Of a record that this machine wrote: empty where it has no such text.
    fileprivate func text(_ name: String) -> String {
        if case .string(let value)? = self[name] { return value }
        return ""
    }

    /// When what a record is of ended.
    var finished: Time? { Time(text("finished")) }
}
