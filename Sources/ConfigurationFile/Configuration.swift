import Plumbing

/// What stands in a configuration of `escapepod`: lines of `setting=value`, escapepod(1).
public struct Configuration: Equatable, Sendable {
    /// A setting that a configuration may have.
    public struct Setting: Equatable, Sendable {
        /// The name of the option with the same meaning, without dashes in front; in a line it has underscores.
        public let name: String
        public let kind: Kind

        public enum Kind: Sendable {
            case text
            /// The only value that it has is `yes`.
            case toggle
            /// It may stand in several lines, each with one of its values.
            case list
        }

        public init(_ name: String, _ kind: Kind = .text) {
            self.name = name
            self.kind = kind
        }

        /// As a line has it.
        public var key: String { name.replacing("-", with: "_") }
    }

    /// Values by the names of their settings; those of a list have newlines in between.
    public var values: [String: String]

    public init(_ values: [String: String] = [:]) { self.values = values }

    /// Reads a configuration: empty lines and lines that start with `#` say nothing.
    ///
    /// - Parameters:
    ///   - path: how messages call it.
    ///   - settings: those that it may have; either spelling of their names counts.
    /// - Throws: `badData` with the line's number for anything else, and for a setting that is there twice.
    public init(parsing bytes: [UInt8], at path: String, knowing settings: [Setting]) throws {
        self.init()
        let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        for (index, line) in lines.enumerated() {
            func wrong(_ what: String, _ hint: String) -> Failure {
                Failure(.badData, what, at: "\(path), line \(index + 1)", hint: hint)
            }
            guard let first = line.first, first != UInt8(ascii: "#") else { continue }
            guard line.last != UInt8(ascii: "\r") else {
                throw wrong(
                    "the line ends in a carriage return, as on Windows", "sed -i 's/\\r$//' \(path) mends it")
            }
            guard line.allSatisfy({ $0 >= 0x20 && $0 != 0x7f }) else {
                throw wrong("a control character", "look at it with cat -A")
            }
            guard let text = String(validating: line, as: UTF8.self) else {
                throw wrong("not UTF-8", "look at it with cat -A")
            }
            let name = text.prefix { $0 != "=" }.replacing("_", with: "-")
            guard let setting = settings.first(where: { $0.name == name }), text.contains("=") else {
                throw wrong("no such setting", "escapepod(1) lists them; each is KEY=value")
            }
            let value = String(text.drop { $0 != "=" }.dropFirst())
            guard setting.kind != .toggle || value == "yes" else {
                throw wrong("\(setting.key) can only be yes", "remove the line to turn it off")
            }
            if setting.kind == .list, let before = values[setting.name] {
                values[setting.name] = "\(before)\n\(value)"
                continue
            }
            guard values.updateValue(value, forKey: setting.name) == nil else {
                throw wrong("\(setting.key) is set twice", "keep one of the two lines")
            }
        }
    }

    /// The lines of a configuration with these values, in the order of `settings`; what is empty is left out.
    public func lines(of settings: [Setting]) -> String {
        let lines = settings.flatMap { setting in
            list(setting.name).map { "\(setting.key)=\($0)\n" }
        }
        return "# escapepod.conf, see escapepod(1)\n" + lines.joined()
    }

    /// The values of a list, or the one of another setting.
    public func list(_ name: String) -> [String] {
        values[name, default: ""].split(separator: "\n").map(String.init)
    }
}
