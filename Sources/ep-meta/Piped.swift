import ArgumentParser
import Plumbing
import Tool

struct Piped: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "piped",
        abstract: "End in the status of a pipeline, for escapepod.", shouldDisplay: false)

    @Argument(help: "The statuses of its stages, the first one's first.") var statuses: [Int32]

    func run() throws { throw ExitCode(Piped.status(of: statuses)) }

    /// The last stage knows best why it stopped; one that only says that its input was cut leaves the word to the stage in
    /// front of it.
    static func status(of stages: [Int32]) -> Int32 {
        var status: Int32 = 0
        for stage in stages.reversed() {
            if stage != 0 { status = stage }
            guard stage == 0 || stage == ExitStatus.badData.rawValue else { break }
        }
        return status
    }
}
