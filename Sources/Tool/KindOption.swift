public import ArgumentParser
public import Envelope

/// What a stream's bytes are: the option of the tools that seal and open under a key.
public struct KindOption: ParsableArguments {
    @Option(help: "What the bytes are; each kind has its own key.")
    public var kind = Envelope.Kind.blob

    public init() {}
}

// A key is sealed under a passphrase, and ep-key does that.
extension Envelope.Kind: ExpressibleByArgument {
    public init?(argument: String) {
        self.init(rawValue: argument)
        guard self != .key else { return nil }
    }

    public static var allValueStrings: [String] { [blob, metadata, pruning].map(\.rawValue) }
}
