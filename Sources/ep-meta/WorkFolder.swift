import ArgumentParser
import Glibc
import Plumbing
import Tool

struct WorkFolder: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "work",
        abstract: "Make the folder of a run, and remove those of runs that were killed, for escapepod.",
        discussion: "They are a prefix, a dot, the number of a process, a dot, and eight letters or digits.",
        shouldDisplay: false)

    @Argument(help: "The folder to make, with mode 0700.") var path: String

    func run() throws {
        let entry = try Entry(at: path)
        let prefix = entry.name.split(separator: ".").first.map { "\($0)." } ?? ""
        for name in try entry.folder.names(startingWith: prefix) where isStale(name, prefix, entry) {
            let path = entry.folder.path(of: name)
            let ending = try Child.ending(of: ["rm", "-rf", "--one-file-system", "--", path])
            guard ending.isSuccess else { throw Failure(.io, "rm \(ending)", at: path) }
        }
        guard mkdirat(entry.folder.number, entry.name, 0o700) == 0 else {
            throw Failure.system("cannot create a folder", at: path)
        }
    }

    /// Whether it is ours, and its process is no more.
    private func isStale(_ name: String, _ prefix: String, _ entry: borrowing Entry) -> Bool {
        let parts = name.dropFirst(prefix.count).split(
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
