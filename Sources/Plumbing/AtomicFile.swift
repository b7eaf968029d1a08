public import Glibc

/// Puts a small file in place whole or not at all, durably.
public enum AtomicFile {
    /// Writes `bytes` to a new file beside `path`, syncs, renames, and syncs the folder. No link is followed: neither one of
    /// that name, which is replaced, nor one on the way that others can have put there.
    ///
    /// - Parameters:
    ///   - mode: what the file gets, whatever the umask, where its file system has modes.
    ///   - replacing: whether a file of that name gives way; else it is left as it is, and the call fails.
    public static func write(_ bytes: [UInt8], to path: String, mode: mode_t, replacing: Bool) throws {
        let entry = try Entry(at: path)
        let staged = ".escapepod-" + UInt64.random(in: .min ... .max).padded(to: 16, radix: 16)

        let file = try Descriptor(opening: staged, in: entry.folder, O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
        do {
            try file.write(bytes)
            _ = fchmod(file.number, mode)
            try file.sync()
            try file.close()
            if replacing {
                guard renameat(entry.folder.number, staged, entry.folder.number, entry.name) == 0 else {
                    throw Failure.system("cannot create", at: path)
                }
            } else {
                try entry.folder.rename(staged, toNew: entry.name)
            }
        } catch {
            unlinkat(entry.folder.number, staged, 0)
            throw error
        }
        try entry.folder.syncNames()
    }
}
