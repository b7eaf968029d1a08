import ArgumentParser
import Glibc
import Plumbing
import Tool

struct Keep: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Put standard input in place as a file: whole or not at all, durably, following no link.")

    @Argument(help: "The file.")
    var file: String

    @Option(help: .init("What the file gets, whatever the umask (0600).", valueName: "octal"))
    var mode: String?

    @Flag(help: "Fail where there is a file of that name.")
    var new = false

    @Flag(help: "Make the folders that are missing on the way, mode 0700.")
    var parents = false

    func run() throws {
        guard let mode = mode_t(mode ?? "0600", radix: 8), mode <= 0o777 else {
            throw Failure(.usage, "no mode of a file", at: "--mode", hint: "octal digits, as in 0644")
        }
        let input = Descriptor.standardInput
        let bytes = try input.readAll(limit: 16 << 20)
        guard !bytes.isEmpty else {
            throw Failure(
                .badData, "empty input", at: input.name, hint: "what should have written it may have failed")
        }
        if parents { try makeFolders(above: file) }
        try AtomicFile.write(bytes, to: file, mode: mode, replacing: !new)
    }
}

struct Printable: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print the lines of standard input as a terminal may show them.")

    @Flag(help: "Each line ends in a zero byte; a newline is a part of it.")
    var null = false

    func run() throws {
        var lines = try Descriptor.standardInput.readAll(limit: 16 << 20).split(
            separator: null ? 0 : UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        if lines.last?.isEmpty == true { lines.removeLast() }
        try Descriptor.standardOutput.write(Array(lines.map { "\(printable($0))\n" }.joined().utf8))
    }
}
