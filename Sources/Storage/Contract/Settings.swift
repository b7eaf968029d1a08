import Glibc
import Plumbing

/// What a driver is told beside the URL.
public struct Settings: Sendable {
    /// The seconds without any progress after which a transfer, or the wait for a lock, is given up.
    public var patience: Double = 120
    /// Hears of each failure that is tried again.
    public var notify: @Sendable (String) -> Void = { _ in }
    /// What the options say, by their names; a flag that is there has an empty text.
    public var options: [String: String] = [:]

    public init() {}

    /// What the command line says of it.
    public func text(_ option: DriverOption) -> String? { options[option.name] }

    public func isSet(_ option: DriverOption) -> Bool { options[option.name] != nil }

    /// The word in the file that the option names, else in the environment.
    ///
    /// - Parameter place: the store that wants it.
    /// - Throws: `usage` where there is none; `badData` where it is not one word of printable ASCII.
    public func secret(_ option: DriverOption, for place: String) throws -> String {
        guard case .secret(let variable) = option.value else {
            throw Failure(.bug, "--\(option.name) is not a secret", at: place)
        }
        let text: String
        let file = options[option.name]
        if let file {
            text = String(decoding: try Descriptor.file(at: file).readAll(limit: 64 << 10), as: UTF8.self)
        } else if let value = getenv(variable) {
            text = String(cString: value)
        } else {
            throw Failure(
                .usage, "no token", at: place,
                hint: "give it as a file with --\(option.name), or in the environment as \(variable)")
        }
        let words = text.split(whereSeparator: \.isWhitespace)
        guard words.count == 1, words[0].utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else {
            throw Failure(
                .badData, "not a token", at: file ?? variable, hint: "a token is one word of ASCII characters"
            )
        }
        return String(words[0])
    }
}
