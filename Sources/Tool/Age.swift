public import ArgumentParser

/// A length of time as people write it: `90m`, `26h`, `84d`, `12w`.
public struct Age: ExpressibleByArgument, CustomStringConvertible {
    public let seconds: Int64
    public let description: String

    public init?(argument: String) {
        let units: [Character: Int64] = ["m": 60, "h": 3600, "d": 86400, "w": 7 * 86400]
        guard let unit = argument.last.flatMap({ units[$0] }), let count = Int64(argument.dropLast()),
            argument.utf8.first != UInt8(ascii: "+"), (1...9_999_999).contains(count)
        else { return nil }
        seconds = count * unit
        description = argument
    }

    init(weeks: Int64) {
        seconds = weeks * 7 * 86400
        description = "\(weeks)w"
    }
}

/// How often, at least; or not at all: `off`.
public enum Period: ExpressibleByArgument, CustomStringConvertible {
    case off
    case every(Age)

    public init?(argument: String) {
        if argument == "off" {
            self = .off
        } else if let age = Age(argument: argument) {
            self = .every(age)
        } else {
            return nil
        }
    }

    public static func every(weeks: Int64) -> Period { .every(Age(weeks: weeks)) }

    public var description: String {
        if case .every(let age) = self { age.description } else { "off" }
    }

    public var seconds: Int64? {
        if case .every(let age) = self { age.seconds } else { nil }
    }
}

/// The same, or `0`.
public struct Delay: ExpressibleByArgument, CustomStringConvertible {
    public let seconds: Int64
    public let description: String

    public init?(argument: String) {
        guard let seconds = argument == "0" ? 0 : Age(argument: argument)?.seconds else { return nil }
        self.seconds = seconds
        description = argument
    }

    public init(days: Int64) {
        seconds = days * 86400
        description = "\(days)d"
    }
}

/// When a chain is cut short: the options of the tools that plan a backup.
public struct ChainAges: ParsableArguments {
    @Option(
        help: .init(
            "Begin a new chain with a full backup when the last one is that old, or never (off); default: 24w.",
            valueName: "age"))
    public var fullEvery: Period?

    @Option(
        help: .init(
            "Build on the full backup again when the last one that did is that old, or never (off); default: 4w.",
            valueName: "age"))
    public var differentialEvery: Period?

    public init() {}
}
