import ArgumentParser
import ConfigurationFile
import Glibc
import Plumbing
import Storage
import StoreArguments
import StoreFormat
import Tool

/// What a run of `escapepod` is told, by its command line and a configuration.
struct Run {
    let command: String
    private var settings = Configuration()
    private var name = ""
    private var path = ""

    /// - Parameter volume: nil for a command that has no such option.
    init(_ command: String, of subject: Subject, volume: VolumeOption? = nil) {
        self.command = command
        offer("volume", volume?.volume)
        offer("store", subject.store)
        offer("domain", subject.domain)
        offer("key", subject.key)
        offer("patience", subject.patience.patience.map { "\($0)" })
        for option in Drivers.standard.options {
            offer(
                option.name, subject.driver.given[option.name].map { option.placeholder == nil ? "yes" : $0 })
        }
    }

    /// Takes a value that the command line gives; an empty one is none.
    mutating func offer(_ name: String, _ value: (some CustomStringConvertible)?) {
        if let text = value?.description, !text.isEmpty { settings.values[name] = text }
    }

    mutating func offer(_ name: String, _ isOn: Bool) {
        if isOn { settings.values[name] = "yes" }
    }

    /// A plan is all that is wanted: nothing may change.
    static let rehearsal = "dry-run"

    // MARK: - The configuration

    private static let driverSettings =
        Drivers.standard.options.filter { $0.placeholder != nil }.map { Configuration.Setting($0.name) }
        + [.init("patience")]
        + Drivers.standard.options.filter { $0.placeholder == nil }.map { .init($0.name, .toggle) }
    private static let known =
        ["domain", "volume", "store", "key", "key-space", "compress"].map { .init($0) } + planning
        + [.init("max-age")] + retaining + [.init("trash-age"), .init("prune", .toggle)] + driverSettings
        + [.init("system", .toggle), .init("member", .list), .init("leave-out", .list)]

    private static let planning = ["full-every", "differential-every"].map { Configuration.Setting($0) }

    private static let retaining = ["keep", "keep-last", "minimum-age"].map { Configuration.Setting($0) }

    /// Whether it is about a whole system, and not one of its members.
    var isSystem: Bool { settings.values["system"] != nil }

    /// What the store's drive is called, where a drive is looked for by that.
    var storeLabel: String? {
        let store = settings.values["store", default: ""]
        return store.hasPrefix("label:") ? String(store.dropFirst(6)) : nil
    }

    /// The configuration that the run makes.
    var text: String { settings.lines(of: Run.known) }

    /// Takes from the configuration what the command line does not say.
    mutating func read(_ argument: NameArgument, member: String? = nil) throws {
        guard let name = argument.name else {
            guard member == nil else {
                throw Failure(
                    .usage, "--member without a configuration",
                    hint: "give the NAME of one; or only --domain and --volume")
            }
            return
        }
        try locate(name)
        guard exists(path) else {
            throw Failure(.unavailable, "no configuration", at: path, hint: "escapepod init makes one")
        }
        var file = try Configuration(
            parsing: Descriptor(opening: path, O_RDONLY).readAll(limit: 1 << 20), at: path,
            knowing: Run.known)
        // What goes of a member is decided for its whole system.
        if member != nil { file.values["prune"] = nil }
        settings.values.merge(file.values) { given, _ in given }
        try turn(to: member)
    }

    /// Of a whole system, its members have their own volumes and domains; the system's own are those of its capsule.
    private mutating func turn(to label: String?) throws {
        guard settings.values["system"] != nil else {
            guard let label else { return }
            throw Failure(
                .usage, "not the configuration of a whole system", at: path,
                hint: "leave out --member \(label)")
        }
        let root = settings.values["volume", default: "/"]
        settings.values["root"] = root
        func below(_ path: String) -> String { path == "/" ? root : (root == "/" ? "" : root) + path }
        guard let label else {
            settings.values["volume"] = below("/.escapepod-system")
            return
        }
        guard let line = settings.list("member").first(where: { $0.hasPrefix("\(label) /") }) else {
            throw Failure(
                .usage, "no such member: \(label)", at: path, hint: "its lines member= have the labels")
        }
        settings.values["volume"] = below(String(line.dropFirst(label.count + 1)))
        settings.values["system-domain"] = settings.values["domain"]
        settings.values["domain"] = "\(label).\(settings.values["domain", default: ""])"
        settings.values["system"] = nil
        settings.values["member"] = nil
        // The key is kept with the system's own backups.
        settings.values["key-space"] = nil
        // Each has metrics of its own.
        if let file = settings.values["prometheus"] {
            let stem = file.hasSuffix(".prom") ? String(file.dropLast(5)) : file
            settings.values["prometheus"] = "\(stem)-\(label)\(file.dropFirst(stem.count))"
        }
    }

    /// Fills in what a new configuration has where the command line does not say it. A timer will read it, so no path in it
    /// may depend on the folder that this runs in.
    mutating func found(called name: String) throws {
        try locate(name)
        var status = stat()
        guard lstat(path, &status) != 0 else {
            throw Failure(.io, "will not overwrite a configuration", at: path, hint: "choose another name")
        }
        if settings.values["domain"] == nil { settings.values["domain"] = try hostName() }
        if settings.values["key"] == nil {
            settings.values["key"] = (path.hasSuffix(".conf") ? String(path.dropLast(5)) : path) + ".key"
        }
        if let space = settings.values["key-space"], space.hasPrefix("file:") {
            settings.values["key-space"] = String(space.dropFirst(space.hasPrefix("file://") ? 7 : 5))
        }
        let files = Drivers.standard.options.filter { $0.placeholder == "file" }.map(\.name)
        for name in ["volume", "key", "key-space"] + files {
            settings.values[name] = try settings.values[name].flatMap(absolute)
        }
        if let space = settings.values["key-space"],
            stat(space, &status) != 0 || status.st_mode & S_IFMT != S_IFDIR
        {
            throw Failure(
                .unavailable, "no such folder", at: space,
                hint: "a key space is a folder; mount its drive first")
        }
    }

    private mutating func locate(_ name: String) throws {
        let isPath = name.contains("/")
        let isName = name.first != "." && !name.isEmpty && name.utf8.allSatisfy(isNameByte)
        guard isPath || isName else {
            throw Failure(
                .usage, "not a name for a configuration", at: name.isEmpty ? "''" : name,
                hint:
                    "letters, digits, dots, dashes and underscores, the first one no dot; or a path with a slash"
            )
        }
        self.name = name
        path = isPath ? name : "/etc/escapepod/\(name).conf"
    }

    private func isNameByte(_ byte: UInt8) -> Bool {
        switch Unicode.Scalar(byte) {
        case "a"..."z", "A"..."Z", "0"..."9", ".", "_", "-": true
        default: false
        }
    }

    // MARK: - What the script reads

    /// All that the run is told, and what follows from that.
    ///
    /// - Throws: `usage` where one of those names has no value, or the domain or the store is none.
    func answer(requiring names: String...) throws -> Answer {
        for name in names where settings.values[name, default: ""].isEmpty {
            throw Failure(.usage, "missing --\(name)", hint: "give it, or a NAME that has it")
        }
        try check(.init("compress"), Compression.self, "none, or 1 to 19")
        for period in Run.planning {
            try check(period, Period.self, "an age such as 26h, 84d or 12w, or off")
        }
        try check(.init("trash-age"), Delay.self, "an age such as 26h, 7d or 2w, or 0")
        let store = settings.values["store", default: ""]
        let domain = try Domain(settings.values["domain", default: ""])
        let folder = try StoreURL(store).folderName
        let root = getenv("ESCAPEPOD_STATE").map { String(cString: $0) } ?? ""
        var answer = Answer()
        for name in settings.values.keys.sorted() {
            answer.add(name, settings.values[name])
        }
        answer.add("command", command)
        answer.add("name", name)
        answer.add("config", path)
        answer.add("folder", folder)
        answer.add("state", "\(root.isEmpty ? "/var/lib/escapepod" : root)/\(domain)/\(folder)")
        answer.append([store, "--domain", domain.description] + words(Run.driverSettings), to: "place")
        answer.append(words(["generation", "at-least-generation"].map { .init($0) }), to: "chosen")
        answer.append(words([.init("compress")]), to: "sealing")
        answer.append(words(Run.planning), to: "planning")
        answer.append(words(Run.retaining), to: "retaining")
        answer.append(words(["disk", "firmware"].map { .init($0) }), to: "layout")
        answer.append(words(["serial", "size"].map { .init($0) }), to: "overwrite")
        answer.append(words([.init("max-age"), .init("json", .toggle), .init("prometheus")]), to: "report")
        answer.append(settings.list("member"), to: "members")
        answer.append(settings.list("leave-out").flatMap { ["--leave-out", $0] }, to: "left_out")
        return answer
    }

    /// - Parameter form: what a value of that type is, for people.
    private func check(
        _ setting: Configuration.Setting, _ type: any ExpressibleByArgument.Type, _ form: String
    ) throws {
        guard let value = settings.values[setting.name], type.init(argument: value) == nil else { return }
        throw Failure(.badData, "\(setting.key) is \(form)", at: path)
    }

    /// Those that are given, as a command line has them.
    private func words(_ options: [Configuration.Setting]) -> [String] {
        options.flatMap { option in
            guard let value = settings.values[option.name], !value.isEmpty else { return [String]() }
            return ["--\(option.name)"] + (option.kind == .toggle ? [] : [value])
        }
    }
}

/// What the script reads: `NAME=VALUE`, and `NAME+=VALUE` for each value of a list, each with a zero byte behind it, since a path
/// may hold anything else.
struct Answer {
    private var bytes: [UInt8] = []

    /// Leaves out what is empty.
    mutating func add(_ name: String, _ value: String?) {
        guard let value, !value.isEmpty else { return }
        bytes += Array("\(name)=\(value)".utf8) + [0]
    }

    mutating func append(_ values: [String], to list: String) {
        for value in values { add("\(list)+", value) }
    }

    func write() throws { try Descriptor.standardOutput.write(bytes) }
}

/// An absolute path, without empty and dotted parts; links stay as they are. Nil for an empty one.
func absolute(_ path: String) throws -> String? {
    guard !path.isEmpty else { return nil }
    var parts: [Substring] = []
    var whole = path
    if !path.hasPrefix("/") {
        guard let folder = getcwd(nil, 0) else {
            throw Failure.system("cannot find the current folder", at: ".")
        }
        defer { free(folder) }
        whole = "\(String(cString: folder))/\(path)"
    }
    for part in whole.split(separator: "/") {
        switch part {
        case ".": continue
        case "..": _ = parts.popLast()
        default: parts.append(part)
        }
    }
    return "/" + parts.joined(separator: "/")
}

/// This host's full name, in lower case.
private func hostName() throws -> String {
    var child = try Child(["hostname", "-f"])
    let output = try child.output.readAll(limit: 1 << 10)
    let name = String(decoding: output.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self).lowercased()
    guard try child.wait().isSuccess, !name.isEmpty else {
        throw Failure(
            .unavailable, "this host does not know its full name, which would be the domain",
            hint: "give --domain, or see to it that hostname -f prints one")
    }
    return name
}
