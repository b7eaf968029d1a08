public import ArgumentParser

/// How hard to compress what is sealed: the option of the tools that seal a backup.
public struct CompressionOption: ParsableArguments {
    @Option(
        help: .init(
            "Compress with zstd at this level, 1 to 19, or not at all; default: 1.", valueName: "none|level"))
    public var compress: Compression?

    public init() {}
}

/// A level of zstd's, or none.
public enum Compression: ExpressibleByArgument, CustomStringConvertible {
    case none
    case zstd(level: Int)

    public init?(argument: String) {
        if argument == "none" {
            self = .none
        } else if let level = Int(argument), (1...19).contains(level) {
            self = .zstd(level: level)
        } else {
            return nil
        }
    }

    public var level: Int? {
        if case .zstd(let level) = self { level } else { nil }
    }

    public var description: String { level.map { "\($0)" } ?? "none" }
}
