import ArgumentParser
import Envelope
import JSON
import Plumbing
import Sealing
import Tool

@main
struct Seal: Tool {
    static let configuration = CommandConfiguration(
        commandName: "ep-seal", abstract: "Seal a stream with AES-256: standard input to standard output.",
        discussion: """
            A btrfs send stream is recognised, and its tail is sealed only if the stream is whole. For other input, \
            nothing can tell a producer that died from one that finished: give the producer as COMMAND.
            """, version: version)

    @Option(help: .init("The key file.", valueName: "file"))
    var key: String

    @OptionGroup var content: KindOption

    @OptionGroup var compression: CompressionOption

    @Option(
        help: .init("Write what the stream states about itself to this file, as JSON.", valueName: "file"))
    var report: String?

    @OptionGroup var progress: ProgressOptions

    @Argument(
        parsing: .postTerminator,
        help: .init("Run this command and seal its output; it must exit with 0.", valueName: "command"))
    var command: [String] = []

    func validate() throws {
        guard content.kind == .blob || compression.compress?.level == nil else {
            throw ValidationError("only blobs are compressed")
        }
    }

    func run() throws {
        let key = try KeyFile.read(key) { warn($0, from: "ep-seal") }
        guard !command.isEmpty else {
            return try seal(under: key, from: .standardInput) {}
        }
        var child = try Child(command)
        // The child's output cannot be lent while the child is waited for, so it is the number that is lent.
        let output = Descriptor(borrowing: child.output)
        try seal(under: key, from: output) {
            let ending = try child.wait()
            guard ending.isSuccess else {
                throw Failure(
                    .badData, "\(command[0]) \(ending)",
                    hint: "no later stage takes its stream for a whole one")
            }
        }
    }

    private func seal(
        under key: Key, from input: borrowing Descriptor, producerIsDone: () throws -> Void
    ) throws {
        var meter = progress.meter
        var origin = Origin(at: input.name)
        try Sealing.seal(
            content.kind, under: key,
            compressing: content.kind == .blob ? (compression.compress ?? .zstd(level: 1)).level : nil,
            from: input, to: .standardOutput,
            inspect: {
                try origin.see($0)
                meter.advance(to: origin.progress)
            },
            confirm: { compressed in
                try producerIsDone()
                let record = try origin.finish(compressed: compressed)
                if let report {
                    try AtomicFile.write(record.line, to: report, mode: 0o600, replacing: true)
                }
            })
        meter.finish()
    }
}
