import ArgumentParser
import JSON
import Plumbing
import Snapshots
import Tool

struct Compare: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Compare a subvolume with its copy in all that a restore has to bring back.")

    @Argument(help: "The one that was backed up: its snapshot.") var original: String
    @Argument(help: "The one that came back.") var copy: String
    @Flag(help: "Zeros in place of a hole are no difference.") var filledHoles = false
    @Option(help: .init("Write a record of what was compared to this file.", valueName: "file"))
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
                .badData, result.differences == 1 ? "a difference" : "\(result.differences) differences",
                at: "\(original) and \(copy)")
        }
    }
}
