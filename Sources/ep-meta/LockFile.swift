import ArgumentParser
import Glibc
import Plumbing
import Tool

struct LockFile: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lock",
        abstract: "Print the path of the file that whoever works on a folder holds a lock on, for escapepod.",
        shouldDisplay: false)

    @Argument(help: "The folder.") var folder: String
    @Flag(help: "It is a folder of ours: make it where it is missing, with mode 0700.") var own = false

    func run() throws {
        if own { try make(folder) }
        var status = stat()
        guard stat(folder, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
            throw Failure(.unavailable, "no such folder", at: folder, hint: "mount it first")
        }
        // Where nobody else can open it, or anybody could hold it for ever.
        let locks = "\(place)/escapepod"
        try make(locks)
        try put("\(locks)/\(status.st_dev)-\(status.st_ino).lock")
    }

    private var place: String {
        func value(_ name: String) -> String? {
            getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
        }
        return geteuid() == 0
            ? "/run" : value("XDG_RUNTIME_DIR") ?? value("ESCAPEPOD_STATE") ?? "/var/lib/escapepod"
    }

    /// A folder that others can neither change nor look into, and no link.
    private func make(_ path: String) throws {
        try makeFolders(above: "\(path)/.")
        var status = stat()
        guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR, status.st_uid == geteuid(),
            status.st_mode & 0o077 == 0
        else {
            throw Failure(
                .denied, "others can change or read this folder", at: path,
                hint: "it must be yours, with mode 0700, and not a link")
        }
    }
}
