import Glibc
import Plumbing

/// Runs the well-kept programs that do the work.
enum Program {
    /// What the command wrote, once it ended well.
    ///
    /// - Throws: `unavailable` where there is no such program; `io` where it failed, and it has said why.
    static func output(of command: [String], input: [UInt8]? = nil, limit: Int = 16 << 20) throws -> [UInt8] {
        var child = try Child(command, input: input ?? [])
        let output = try child.output.readAll(limit: limit)
        try require(child.wait(), of: command)
        return output
    }

    /// Runs a command to its good end, and forgets its output.
    static func run(_ command: [String], input: [UInt8] = []) throws {
        try require(Child.ending(of: command, input: input), of: command)
    }

    /// The command, with what it says on standard error in its output.
    static func merged(_ command: [String]) -> [String] { ["sh", "-c", "exec \"$@\" 2>&1", "sh"] + command }

    /// The same for a program that says on standard error what is no error; where it fails, the failure has what it said.
    static func runQuietly(_ command: [String]) throws {
        var child = try Child(merged(command), input: [])
        let said = try child.output.readAll(limit: 1 << 20)
        let ending = try child.wait()
        guard ending.isSuccess else {
            throw Failure(
                .io, "\(command[0]) \(ending): \(printable(said).trimmed)", at: shellWords(command),
                hint: "run the same command again when that is mended")
        }
    }

    /// The same, its output in a new file of a folder that is ours alone.
    static func run(_ command: [String], into name: String, in folder: borrowing Descriptor) throws {
        let staged = "\(name).new"
        unlinkat(folder.number, staged, 0)
        let file = try Descriptor(opening: staged, in: folder, O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
        var child = try Child(command, input: [])
        let step = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
        defer { step.deallocate() }
        while case let count = try child.output.read(into: step), count > 0 {
            try file.write(UnsafeRawBufferPointer(rebasing: step[..<count]))
        }
        try require(child.wait(), of: command)
        // What has not changed stays the same file, so that no backup has to store it again.
        if let there = try? Descriptor(opening: name, in: folder, O_RDONLY | O_NOFOLLOW | O_NONBLOCK),
            try there.hasContent(of: Descriptor(opening: staged, in: folder, O_RDONLY | O_NOFOLLOW))
        {
            unlinkat(folder.number, staged, 0)
            return
        }
        try file.sync()
        try file.close()
        guard renameat(folder.number, staged, folder.number, name) == 0 else {
            throw Failure.system("cannot create", at: folder.path(of: name))
        }
    }

    static func require(_ ending: Child.Ending, of command: [String]) throws {
        guard ending.isSuccess else {
            throw Failure(
                .io, "\(command[0]) \(ending)", at: shellWords(command),
                hint: "it has said why; run the same command again when that is mended")
        }
    }
}

extension Descriptor {
    /// Whether both have the same bytes.
    fileprivate func hasContent(of other: borrowing Descriptor) throws -> Bool {
        let ours = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
        let theirs = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
        defer {
            ours.deallocate()
            theirs.deallocate()
        }
        while true {
            let count = try readFully(into: ours)
            guard try other.readFully(into: theirs) == count, ours[..<count].elementsEqual(theirs[..<count])
            else {
                return false
            }
            if count < ours.count { return true }
        }
    }
}

/// A command as one may type it.
func shellWords(_ command: [String]) -> String {
    command.map { word in
        let isPlain =
            !word.isEmpty
            && word.utf8.allSatisfy {
                switch Unicode.Scalar($0) {
                case "a"..."z", "A"..."Z", "0"..."9", "/", ".", "_", "-", "=", ":", ",", "^", "@", "+", "%":
                    true
                default: false
                }
            }
        return isPlain ? word : "'" + word.replacing("'", with: "'\\''") + "'"
    }.joined(separator: " ")
}
