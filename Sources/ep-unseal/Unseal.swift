import ArgumentParser
import Glibc
import Plumbing
import Sealing
import Tool

@main
struct Unseal: Tool {
    static let configuration = CommandConfiguration(
        commandName: "ep-unseal", abstract: "Open a sealed stream: standard input to standard output.",
        version: version)

    @Option(help: .init("The key file.", valueName: "file"))
    var key: String

    @OptionGroup var content: KindOption

    @OptionGroup var progress: ProgressOptions

    @Flag(help: "Verify the whole stream and write nothing.")
    var check = false

    func run() throws {
        var meter = progress.meter
        try unseal(
            content.kind, under: KeyFile.read(key) { warn($0, from: "ep-unseal") }, from: .standardInput,
            to: check ? Descriptor(opening: "/dev/null", O_WRONLY) : .standardOutput,
            progress: { meter.advance(to: $0) })
        meter.finish()
    }
}
