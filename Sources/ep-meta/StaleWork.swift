import ArgumentParser
import Glibc
import Plumbing
import Tool

struct StaleWork: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "clear",
        abstract: "Remove the folders of runs that were killed, for escapepod.",
        discussion: "They are PREFIX, a dot, the number of a process, a dot, and eight letters or digits.",
        shouldDisplay: false)

    @Argument(help: "How the paths of the folders begin.") var prefix: String

    func run() throws {
        let entry = try Entry(at: prefix)
        for name in try entry.folder.names(startingWith: "\(entry.name).") where isStale(name, entry) {
            let path = entry.folder.path(of: name)
            let ending = try Child.ending(of: ["rm", "-rf", "--one-file-system", "--", path])
            guard ending.isSuccess else { throw Failure(.io, "rm \(ending)", at: path) }
        }
    }

    /// Whether it is ours, and its process is no more.
    private func isStale(_ name: String, _ entry: borrowing Entry) -> Bool {
        let parts = name.dropFirst(entry.name.count + 1).split(
            separator: ".", omittingEmptySubsequences: false)
        var status = stat()
        guard parts.count == 2, parts[0].utf8.allSatisfy((UInt8(ascii: "0")...UInt8(ascii: "9")).contains),
            let process = pid_t(parts[0]), process > 0, parts[1].utf8.count == 8,
            parts[1].allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber) }),
            fstatat(entry.folder.number, name, &status, AT_SYMLINK_NOFOLLOW) == 0,
            status.st_mode & S_IFMT == S_IFDIR, status.st_uid == geteuid()
        else { return false }
        return kill(process, 0) != 0 && errno == ESRCH
    }
}
