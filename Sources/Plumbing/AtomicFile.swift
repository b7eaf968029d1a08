import CLinux
public import Glibc

/// Puts a small file in place whole or not at all, durably.
public enum AtomicFile {
    /// Writes `bytes` beside `path`, syncs, renames, and syncs the directory.
    ///
    /// - Parameter replacing: whether a file of that name gives way; else it is left as it is, and the call fails.
    public static func write(_ bytes: [UInt8], to path: String, mode: mode_t, replacing: Bool) throws {
        let slash = path.lastIndex(of: "/")
        let folder = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        let name = slash.map { String(path[path.index(after: $0)...]) } ?? path
        let directory = try Descriptor(opening: folder, O_RDONLY | O_DIRECTORY)
        let staged = ".\(name).\(getpid())"

        let file = try Descriptor(opening: staged, in: directory, O_WRONLY | O_CREAT | O_EXCL, mode: mode)
        do {
            try file.write(bytes)
            try file.sync()
            try file.close()
            let renamed =
                replacing
                ? renameat(directory.number, staged, directory.number, name)
                : linux_rename_new(directory.number, staged, directory.number, name)
            guard renamed == 0 else { throw Failure.system("cannot create", at: path) }
        } catch {
            unlinkat(directory.number, staged, 0)
            throw error
        }
        try directory.sync()
    }
}
