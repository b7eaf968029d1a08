public import ArgumentParser

/// How far a stream has come: the options of the tools that one passes through.
public struct ProgressOptions: ParsableArguments {
    @Flag(help: "Show progress on standard error, if that is a terminal.")
    var progress = false

    @Option(help: .init("The expected length, to compute the time left.", valueName: "bytes"))
    var expect: UInt64?

    @Option(help: .init("How much of that was already transferred in other streams.", valueName: "bytes"))
    var past: UInt64 = 0

    public init() {}

    /// The meter that was asked for.
    public var meter: Meter { Meter(wanted: progress, expected: expect, past: past) }
}
