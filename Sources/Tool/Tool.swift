public import ArgumentParser
import Glibc
import Plumbing

/// The version that every tool prints and every metadata document records.
public let version = "0.1.0"

/// A command line as all the tools have it: `--help` and `--version` on standard output with status 0,
/// errors as `NAME: what happened: where` and `NAME: hint: …` on standard error with a status of `ExitStatus`.
public protocol Tool: ParsableCommand {}

extension Tool {
    public static func main() {
        // A reader that goes away is an error that we report, not a silent death.
        signal(SIGPIPE, SIG_IGN)
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch {
            Glibc.exit(report(error, from: Self._commandName))
        }
    }

    private static func report(_ error: any Error, from tool: String) -> Int32 {
        if let failure = error as? Failure {
            say(failure.message(from: tool))
            return failure.status.rawValue
        }
        if let code = error as? ExitCode { return code.rawValue }
        guard exitCode(for: error) != .success else {
            print(fullMessage(for: error))
            return ExitStatus.done.rawValue
        }
        let what = message(for: error)
        say(
            "\(tool): \(what.prefix(1).lowercased())\(what.dropFirst())\n\(tool): hint: \(tool) --help shows what it takes"
        )
        return ExitStatus.usage.rawValue
    }
}

/// Writes a line to standard error.
public func say(_ line: String) {
    try? Descriptor.standardError.write(Array("\(line)\n".utf8))
}

/// Prints a warning in the tools' form.
public func warn(_ what: String, from tool: String) {
    say("\(tool): warning: \(what)")
}
