import ArgumentParser
import Catalog
import Glibc
import JSON
import Plumbing
import Sealing
import Tool

struct Status: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Report whether a restore is possible now, as text, a record and metrics.",
        usage: """
            ep-meta status --domain DOMAIN --store URL --key FILE --state DIR [--plan FILE] [--now SECONDS] \
            [--max-age AGE] [--keep PERIODS] [--keep-last N] [--minimum-age AGE] [--there FILE] [--room FILE] \
            [--sealed-key FILE] [--key-space DIR] [--differing FILE] [--warning TEXT …] \
            [--json] [--prometheus FILE] [--ending STATUS | < HISTORY]
            """,
        discussion: """
            Reads a history; or, with --ending, reports what is known without one. Exits with 3 if something needs attention.
            """)

    @OptionGroup var subject: Subject

    @OptionGroup var signing: Signing

    @Option(
        help: .init(
            "The plan for the next backup, as written by ep-plan --record; the file need not exist.",
            valueName: "file"))
    var plan: String?

    @Option(help: .init("The time, in seconds since 1970.", valueName: "seconds"))
    var now = Int64(time(nil))

    @Option(
        help: .init("How old the newest backup may be: 90m, 26h, 8d; default: no limit.", valueName: "age"))
    var maxAge: Age?

    @OptionGroup var rules: RetentionRules

    @Option(help: .init("The output of ep-fetch room.", valueName: "file"))
    var room: String?

    @Option(
        help: .init("The sealed key that the store has; an empty file, or none: none.", valueName: "file"))
    var sealedKey: String?

    @Option(help: .init("The folder that should have a copy of the key.", valueName: "dir"))
    var keySpace: String?

    @OptionGroup var companions: Companions

    @Option(help: .init("Something that needs attention and has been reported.", valueName: "text"))
    var warning: [String] = []

    @Flag(help: "Print a record.")
    var json = false

    @Option(
        help: .init(
            "Also write metrics to this file, for node_exporter's textfile collector.", valueName: "file"))
    var prometheus: String?

    @Option(
        help: .init("The store did not answer, and the run ends in that exit status.", valueName: "status"))
    var ending: Int32?

    func run() throws {
        try require(domain: subject.domain)
        let key = try signing.key(from: "ep-meta")
        let (memory, doubted) = try remember(key)
        let told = try warning + doubted + companions.warnings(in: subject.store)
        var status = Catalog.Status(
            domain: subject.domain, store: subject.store, at: Time(seconds: now), memory: memory,
            plan: try plan.flatMap { exists($0) ? try Plan(record($0), at: $0) : nil },
            told: told)
        var nothing: Failure?
        if ending == nil {
            let history = try subject.history()
            let copies = try copies(of: key)
            do { try status.look(at: history, key: copies, limit: maxAge?.seconds) } catch let failure
                as Failure
            {
                nothing = failure
            }
            if nothing == nil {
                try status.look(
                    ahead: history, under: rules.rules(holding: rules.blobs()), room: bytes(of: room))
            }
        }
        for warning in status.warnings {
            warn(warning.what, hint: warning.hint, from: "ep-meta")
        }
        if let nothing {
            if let prometheus { try write(status.metrics(ending: nothing.status.rawValue), to: prometheus) }
            throw nothing
        }
        if json {
            if let json = status.json { try Descriptor.standardOutput.write(json.line) }
        } else {
            try Descriptor.standardOutput.write(Array(status.page.utf8))
        }
        if let prometheus { try write(status.metrics(ending: ending), to: prometheus) }
        guard ending != nil || status.exit == .done else { throw ExitCode(status.exit.rawValue) }
    }

    /// Nil where the store does not know.
    private func bytes(of room: String?) throws -> Int64? {
        try room.flatMap { path in
            let text = try Descriptor(opening: path, O_RDONLY).readAll(limit: 64).dropLast()
            return Int64(String(decoding: text, as: UTF8.self))
        }
    }

    private func copies(of key: Key) throws -> Catalog.Status.Key {
        let id = try key.id()
        func compare(_ other: () throws -> [UInt8]) -> Catalog.Status.Key.Copy {
            (try? other() == id) == true ? .here : .anotherKey
        }
        let sealed =
            try sealedKey.flatMap {
                exists($0) ? try Descriptor(opening: $0, O_RDONLY).readAll(limit: 64 << 10) : nil
            } ?? []
        let space = keySpace.map { folder in
            let path = "\(folder)/escapepod-\(subject.domain).key"
            let copy = exists(path) ? compare { try KeyFile.read(path) { _ in }.id() } : .missing
            return (path: folder, copy: exists(folder) ? copy : nil)
        }
        return .init(
            id: id.hex,
            inStore: sealed.isEmpty
                ? .missing : compare { try WrappedKey(parsing: sealed, at: "the sealed key").keyID },
            space: space)
    }

    private func write(_ metrics: String, to path: String) throws {
        do { try AtomicFile.write(Array(metrics.utf8), to: path, mode: 0o644, replacing: true) } catch let
            failure as Failure
        {
            throw Failure(
                failure.status, "cannot write the metrics: \(path): \(failure.what)", at: failure.place,
                hint: failure.hint)
        }
    }

    /// What this machine knows of the store, and which of its records cannot be trusted.
    private func remember(_ key: Key) throws -> (Memory, doubted: [String]) {
        var (memory, doubted) = (Memory(), [String]())
        let state = signing.state
        func recall(_ name: String, signed: Bool = true) throws -> JSON? {
            do {
                return try signed
                    ? state.recall(name, under: key)
                    : exists("\(state.state)/\(name)") ? record("\(state.state)/\(name)") : nil
            } catch let failure as Failure
                where failure.status == .badData
            {
                let what = "\(failure.what): \(failure.place ?? name)"
                warn(what, hint: failure.hint, from: "ep-meta")
                doubted.append(what)
                return nil
            }
        }
        memory.failed = try recall("failed.json", signed: false)
        memory.verified = try recall("verified.json")
        memory.sampled = try recall("verified-sample.json")
        memory.forgetOldSample()
        // Their names sort by time.
        for name in try drills(in: state.state).reversed() {
            guard let drill = try recall(name) else { continue }
            if memory.drilled == nil { memory.drilled = drill }
            guard drill["result"] == "proven" else { continue }
            memory.proven = drill
            break
        }
        return (memory, doubted)
    }

    private func drills(in state: String) throws -> [String] {
        guard exists(state) else { return [] }
        let folder = try Descriptor(opening: state, O_RDONLY | O_DIRECTORY)
        return try folder.names(startingWith: "drill-").filter { $0.hasSuffix(".json") }.sorted()
    }
}
