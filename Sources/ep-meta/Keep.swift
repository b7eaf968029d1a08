import ArgumentParser
import Glibc
import Plumbing
import Tool

struct Keep: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keep",
        abstract: "Write standard input to a file, atomically and durably, following no symbolic link.")

    @Argument(help: "The file.")
    var file: String

    @Option(help: .init("The mode of the file, whatever the umask; default: 0600.", valueName: "octal"))
    var mode: String?

    @Flag(help: "Fail if a file of that name exists.")
    var new = false

    @Flag(help: "Create missing parent folders, with mode 0700.")
    var parents = false

    func run() throws {
        guard let mode = mode_t(mode ?? "0600", radix: 8), mode <= 0o777 else {
            throw Failure(.usage, "not a file mode", at: "--mode", hint: "octal digits, such as 0644")
        }
        let input = Descriptor.standardInput
        let bytes = try input.readAll(limit: 16 << 20)
        guard !bytes.isEmpty else {
            throw Failure(
                .badData, "empty input", at: input.name,
                hint: "the previous stage may have failed; see its message")
        }
        if parents { try makeFolders(above: file) }
        try AtomicFile.write(bytes, to: file, mode: mode, replacing: !new)
    }
}

struct Printable: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "printable",
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
