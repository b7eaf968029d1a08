import Plumbing

/// A kind of store: how its URLs are written, what else it has to be told, and how a store is opened.
///
/// A value is one store of that kind, as a URL names it.
public protocol Driver: Sendable, CustomStringConvertible {
    /// What its URLs have in front of the colon.
    static var schemes: [String] { get }
    /// What its URLs look like, for a person: `file:/path`.
    static var form: String { get }
    /// What it has to be told beside the URL. A tool offers them all on its command line.
    static var options: [DriverOption] { get }
    /// Whether a store has a top folder with files for a person who finds it.
    static var hasFiles: Bool { get }

    /// Takes a URL apart.
    ///
    /// - Parameter rest: what follows the scheme and its colon, byte for byte as it was given.
    /// - Throws: `usage`, without a place or a hint: `StoreURL` adds both.
    init(scheme: String, rest: Substring) throws

    /// The URL again; it gives the same store.
    var description: String { get }

    /// One spelling for what is one store whatever there is.
    var canonical: String { get }

    /// Opens the store, and closes it again when `body` has ended, however it ends.
    ///
    /// - Throws: `unavailable` where there is none; `denied` without permission; `usage` where an option is missing or wrong;
    ///   and what `body` throws.
    func withStore<Result>(
        for access: Access, told settings: Settings, _ body: (any Store) throws -> Result
    ) throws -> Result

    /// Whether the store lies on another file system than the folder at `path`, and not in an image on it either.
    ///
    /// It need not be open, nor a drive mounted for it.
    ///
    /// - Throws: `unavailable` where store or folder are not there.
    func isApart(from path: String) throws -> Bool
}

extension Driver {
    public static var options: [DriverOption] { [] }
    public static var hasFiles: Bool { false }
    public var canonical: String { description }
}

/// What a store is opened for: a drive that is only read from is mounted read-only.
public enum Access: Sendable {
    case reading
    case writing
}

/// Something that a driver has to be told beside the URL, as an option of the tools: `--NAME`.
public struct DriverOption: Sendable {
    public enum Value: Sendable {
        /// It is there or it is not.
        case flag
        /// What the command line says; `placeholder` is how the help calls it.
        case text(placeholder: String)
        /// One word that nobody else is to see: in a file that the command line names, else in the environment.
        case secret(variable: String)
    }

    /// Of the letters `a-z` and `-`.
    public let name: String
    /// A sentence for the help.
    public let help: String
    public let value: Value
    /// Says what is wrong with a text, before anything is opened; nil where nothing is.
    public let check: @Sendable (String) -> String?

    public init(
        _ name: String, help: String, _ value: Value,
        check: @escaping @Sendable (String) -> String? = { _ in nil }
    ) {
        self.name = name
        self.help = help
        self.value = value
        self.check = check
    }
}

/// The drivers that a tool knows.
public struct Drivers: Sendable {
    public let all: [any Driver.Type]

    public init(_ all: [any Driver.Type]) { self.all = all }

    /// What URLs look like, as a list in words: `file:/path, label:NAME or …`.
    public var forms: String { words(all.map { $0.form }, "or") }

    /// The same of those whose stores have files for whoever finds them.
    var formsWithFiles: String { words(all.filter { $0.hasFiles }.map { $0.form }, "or") }

    /// Every driver's options, each name once.
    public var options: [DriverOption] {
        var names: Set<String> = []
        return all.flatMap { $0.options }.filter { names.insert($0.name).inserted }
    }

    private func words(_ all: [String], _ last: String) -> String {
        all.count < 2
            ? all.joined() : all.dropLast().joined(separator: ", ") + " \(last) " + (all.last ?? "")
    }
}
