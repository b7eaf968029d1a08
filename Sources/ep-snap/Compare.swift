import ArgumentParser
import JSON
import Plumbing
import Snapshots
import Tool

struct Compare: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare",
        abstract: "Compare a subvolume with what was restored of it.")

    @Argument(help: "The snapshot that was backed up.") var original: String
    @Argument(help: "The restored copy.") var copy: String
    @Flag(help: "Do not report zeros in place of a hole.") var filledHoles = false
    @Option(help: .init("Write a record of the comparison to this file.", valueName: "file"))
    var report: String?
    @OptionGroup var progress: ProgressOptions

    func run() throws {
        var meter = progress.meter
        let result = try compare(
            Subvolume(original, absent: .unavailable), with: Subvolume(copy, absent: .unavailable),
            allowingFilledHoles: filledHoles,
            differs: { try Descriptor.standardOutput.write(Array("\($0)\n".utf8)) },
            progress: { meter.advance(to: $0) })
        meter.finish()
        if let report {
            try AtomicFile.write(result.record.line, to: report, mode: 0o644, replacing: true)
        }
        guard result.differences == 0 else {
            throw Failure(
                .badData, result.differences == 1 ? "1 difference" : "\(result.differences) differences",
                at: "\(original) and \(copy)")
        }
    }
}
