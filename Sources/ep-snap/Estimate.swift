import ArgumentParser
import JSON
import Plumbing
import SendStream
import Snapshots

struct Estimate: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Reckon how many bytes btrfs send will make of a snapshot.")

    @Argument(help: "A read-only snapshot.") var snapshot: String
    @Option(help: ArgumentHelp("The snapshot that an incremental stream builds upon.", valueName: "snapshot"))
    var parent: String?
    @Flag(help: "Print a JSON record.") var json = false

    func run() throws {
        var command = ["btrfs", "send", "-q", "--no-data"]
        if let parent { command += ["-p", try readOnly(parent)] }
        command.append(try readOnly(snapshot))
        let stream = try walk(command)
        // Each extent comes in pieces whose headers are not counted: 1 in 1000 at most.
        let (bytes, overflow) = stream.bytes.addingReportingOverflow(stream.extentBytes)
        guard !overflow, let bytes = Int64(exactly: bytes) else {
            throw Failure(.badData, "a stream beyond 64 bits", at: snapshot)
        }
        try Descriptor.standardOutput.write(
            json ? JSON.object([.init("bytes", .integer(bytes))]).line : Array("\(bytes)\n".utf8))
    }

    private func readOnly(_ path: String) throws -> String {
        let snapshot = try Snapshot(of: Subvolume(path, absent: .badData))
        guard snapshot.isReadOnly else {
            throw Failure(
                .badData, "the subvolume is writable", at: snapshot.path,
                hint: "btrfs send takes read-only snapshots only")
        }
        return snapshot.path
    }

    private func walk(_ command: [String]) throws -> Summary {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 16)
        defer { buffer.deallocate() }
        var child = try Child(command)
        var stream = SendStream(at: child.output.name)
        while case let count = try child.output.read(into: buffer), count > 0 {
            try stream.walk(.init(rebasing: buffer[..<count]))
        }
        let ending = try child.wait()
        guard ending.isSuccess else { throw Failure(.io, "btrfs send \(ending)", at: snapshot) }
        return try stream.finish()
    }
}
