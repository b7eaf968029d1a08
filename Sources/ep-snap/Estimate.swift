import ArgumentParser
import JSON
import Plumbing
import SendStream
import Snapshots

struct Estimate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "estimate",
        abstract: "Estimate how many bytes btrfs send will produce for a snapshot.")

    @Argument(help: "A read-only snapshot.") var snapshot: String
    @Option(help: ArgumentHelp("The snapshot that an incremental stream builds on.", valueName: "snapshot"))
    var parent: String?
    @Flag(help: "Print a JSON record.") var json = false

    /// Less than that is not worth a line.
    private static let manyZeros: UInt64 = 64 << 20

    func run() throws {
        var command = ["btrfs", "send", "-q", "--no-data"]
        if let parent { command += ["-p", try readOnly(parent)] }
        command.append(try readOnly(snapshot))
        let holes = Holes(in: try Subvolume(snapshot, absent: .badData))
        let stream = try walk(command) { extent in
            // A full stream leaves holes out.
            if parent != nil { holes.add(extent.path, at: extent.offset, length: extent.length) }
        }
        // Each extent comes in pieces whose headers are not counted: 1 in 1000 at most.
        let (bytes, overflow) = stream.bytes.addingReportingOverflow(stream.extentBytes)
        guard !overflow, let bytes = Int64(exactly: bytes) else {
            throw Failure(.badData, "the stream's length exceeds 64 bits", at: snapshot)
        }
        try Descriptor.standardOutput.write(json ? record(bytes, holes).line : text(bytes, holes))
    }

    private func record(_ bytes: Int64, _ holes: Holes) -> JSON {
        [
            "bytes": .integer(bytes), "zeros": .integer(Int64(clamping: holes.bytes)),
            "sparse": holes.most.map { .string($0.path) } ?? .null,
        ]
    }

    private func text(_ bytes: Int64, _ holes: Holes) -> [UInt8] {
        var text = "\(bytes)\n"
        if let most = holes.most, holes.bytes >= Estimate.manyZeros {
            text += "\(readable(bytes: holes.bytes)) of zeros: \(most.path) has a new hole, "
            text += "so btrfs send stores the old ones as zeros\n"
        }
        return Array(text.utf8)
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

    private func walk(_ command: [String], extent: @escaping (SendStream.Extent) throws -> Void) throws
        -> Summary
    {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 16)
        defer { buffer.deallocate() }
        var child = try Child(command)
        var stream = SendStream(at: child.output.name, extent: extent)
        while case let count = try child.output.read(into: buffer), count > 0 {
            try stream.walk(.init(rebasing: buffer[..<count]))
        }
        let ending = try child.wait()
        guard ending.isSuccess else {
            // It names no path, and there are none too long for it in the parent, which was sent.
            try Subvolume(snapshot, absent: .badData).requirePathsThatCanBeSent()
            throw Failure(.io, "btrfs send \(ending)", at: snapshot)
        }
        return try stream.finish()
    }
}
