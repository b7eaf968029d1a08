public import ArgumentParser
public import Envelope
import Plumbing
import Sealing
import Tool

@main
struct Seal: Tool {
    static let configuration = CommandConfiguration(
        commandName: "ep-seal", abstract: "Seal a stream: standard input to standard output.",
        version: version)

    @Option(help: .init("The key file.", valueName: "file"))
    var key: String

    @Option(help: "What the bytes are: each kind has a key of its own.")
    var kind = Envelope.Kind.blob

    @OptionGroup var progress: ProgressOptions

    func run() throws {
        var meter = progress.meter
        var count: UInt64 = 0
        try seal(
            kind, under: KeyFile.read(key) { warn($0, from: "ep-seal") }, from: .standardInput,
            to: .standardOutput,
            inspect: {
                count += UInt64($0.count)
                meter.advance(to: count)
            }, confirm: {})
        meter.finish()
    }
}

extension Envelope.Kind: ExpressibleByArgument {}
