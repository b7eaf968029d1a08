public import ArgumentParser
import CArguments
import CLinux
import Glibc
import Plumbing

/// The version that every tool prints and every metadata document records.
public let version = "0.1.0"

/// A command line as all the tools have it: `--help` and `--version` on standard output with status 0,
/// errors as `NAME: what happened: where` and `NAME: hint: …` on standard error with a status of `ExitStatus`.
///
/// Every command gives its `commandName`: a start derives each one that is missing from the name of the type, and that makes
/// Swift search all conformances of all libraries, several times.
public protocol Tool: ParsableCommand {}

extension Tool {
    public static func main() {
        // A reader that goes away is an error that we report, not a silent death.
        signal(SIGPIPE, SIG_IGN)
        let status: Int32
        do {
            try occupyStandardDescriptors()
            var command = try parseAsRoot(arguments())
            try command.run()
            status = ExitStatus.done.rawValue
        } catch {
            status = report(error, from: Self._commandName)
        }
        Glibc.exit(status)
    }

    /// For a tool that is nothing but its subcommands.
    public func run() throws {
        let names = Self.configuration.subcommands.map { $0._commandName }
        throw ValidationError("missing subcommand: one of \(names.joined(separator: ", "))")
    }

    private static func report(_ error: any Error, from tool: String) -> Int32 {
        if let failure = error as? Failure {
            say(failure.message(from: tool))
            return failure.status.rawValue
        }
        if let code = error as? ExitCode { return code.rawValue }
        guard exitCode(for: error) != .success else {
            do {
                try put(fullMessage(for: error))
                return ExitStatus.done.rawValue
            } catch { return report(error, from: tool) }
        }
        guard exitCode(for: error) == .validationFailure else {
            // No call of ours throws such: what it is, whoever it came from has to say.
            return report(
                Failure(.bug, "\(error)", hint: "this should not happen; please report it"), from: tool)
        }
        let what = message(for: error).split(separator: "\n").map { printable(String($0)) }.joined(
            separator: "\n")
        say(
            "\(tool): \(what.prefix(1).lowercased())\(what.dropFirst())\n\(tool): hint: see \(tool) --help"
        )
        return ExitStatus.usage.rawValue
    }
}

/// What follows the tool's own name.
private func arguments() throws -> [String] {
    let all = (0..<arguments_count()).compactMap { arguments_at($0).map { String(cString: $0) } }
    guard !all.isEmpty else {
        throw Failure(.bug, "started without arguments, not even a name")
    }
    return Array(all.dropFirst())
}

/// Where a standard descriptor is closed, the next file that is opened would get its number, and be taken for it: it is given
/// to something that can be neither read nor written.
private func occupyStandardDescriptors() throws {
    for number in Int32(0)...2 where fcntl(number, F_GETFD) == -1 {
        guard open("/", linux_O_PATH) == number else {
            throw Failure.system("cannot open", at: "/")
        }
    }
}

/// Writes a line to standard output.
public func put(_ line: String) throws {
    try Descriptor.standardOutput.write(Array("\(line)\n".utf8))
}

/// Writes a line to standard error.
public func say(_ line: String) {
    try? Descriptor.standardError.write(Array("\(line)\n".utf8))
}

/// Prints a warning in the tools' form, and what to do about it.
public func warn(_ what: String, hint: String? = nil, from tool: String) {
    say("\(tool): warning: \(printable(what))")
    if let hint { say("\(tool): hint: \(printable(hint))") }
}
