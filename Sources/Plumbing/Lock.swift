import Glibc

/// An exclusive lock, held for as long as the value lives, however its process ends.
///
/// It is on a file that only its owner can open, so that nobody else can hold it; in it stands who does. Where a file system
/// has no modes others may hold it all the same, and so every wait has an end.
public struct Lock: ~Copyable, Sendable {
    private let file: Descriptor

    /// The most of a command line that is told.
    private static let longestHolder = 256
    private static let pause: Int32 = 50

    /// Takes the lock.
    ///
    /// - Parameters:
    ///   - name: of the file in `folder`, made where it is missing. It stays.
    ///   - isShared: others may have it at the same time who share it, too; none of them stands in it.
    ///   - seconds: how long to wait for whoever has it.
    ///   - hint: what to do where somebody has it for longer.
    /// - Throws: `busy` after that time, with process and command line of the holder, if it says them; `badData` where the
    ///   name is another thing's.
    public init(
        _ name: String, in folder: borrowing Descriptor, isShared: Bool = false, within seconds: Double,
        hint: String = "run it again when that process is done"
    ) throws {
        let pauses = Int(seconds * 1000) / Int(Lock.pause)
        for _ in 0...pauses {
            if let file = try Lock.attempt(name, in: folder, isShared ? LOCK_SH : LOCK_EX) {
                if !isShared { try? file.write(Array(Lock.ourselves.utf8)) }
                self.file = file
                return
            }
            if pauses > 0 { poll(nil, 0, Lock.pause) }
        }
        let holder = Lock.holder(of: name, in: folder)
        throw Failure(
            .busy,
            "locked by \(holder.map { "process \($0)" } ?? "another process")"
                + (pauses > 0 ? "; gave up after \(Int(seconds.rounded())) s" : ""),
            at: folder.path(of: name), hint: hint)
    }

    deinit {
        // Whoever reads it now must not take us for the holder.
        _ = ftruncate(file.number, 0)
    }

    /// Nil where somebody has it.
    private static func attempt(
        _ name: String, in folder: borrowing Descriptor, _ kind: Int32
    ) throws -> Descriptor? {
        while true {
            let file = try Descriptor(
                opening: name, in: folder, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, mode: 0o600)
            let status = try file.status()
            guard status.st_mode & S_IFMT == S_IFREG, status.st_nlink <= 1 else {
                throw Failure(.badData, "not a valid lock file", at: file.name, hint: "move it away")
            }
            if status.st_uid == geteuid(), status.st_mode & 0o077 != 0 { _ = fchmod(file.number, 0o600) }
            guard retrying({ flock(file.number, kind | LOCK_NB) }) == 0 else {
                if errno == EWOULDBLOCK { return nil }
                throw Failure.system(
                    "cannot lock", at: file.name,
                    hint: errno == ENOLCK || errno == ENOSYS || errno == EOPNOTSUPP
                        ? "this file system does not support locks; mount NFS with local_lock=flock" : nil)
            }
            // Somebody may have removed the file meanwhile: the lock is that of the name.
            var named = stat()
            if fstatat(folder.number, name, &named, AT_SYMLINK_NOFOLLOW) == 0,
                named.st_ino == status.st_ino, named.st_dev == status.st_dev
            {
                _ = ftruncate(file.number, 0)
                return file
            }
        }
    }

    private static var ourselves: String {
        "\(getpid()), \(CommandLine.arguments.joined(separator: " ").prefix(longestHolder))\n"
    }

    private static func holder(of name: String, in folder: borrowing Descriptor) -> String? {
        guard let file = try? Descriptor(opening: name, in: folder, O_RDONLY | O_NOFOLLOW | O_NONBLOCK),
            let text = try? file.readAll(limit: 16 * longestHolder)
        else { return nil }
        let line = String(decoding: text.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
        return line.isEmpty ? nil : line
    }
}
