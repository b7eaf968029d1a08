public import Glibc

/// Puts a small file in place whole or not at all, durably.
public enum AtomicFile {
    /// Writes `bytes` to a new file beside `path`, syncs, renames, and syncs the folder. No link is followed: neither one of
    /// that name, which is replaced, nor one on the way that others can have put there. What a write left there that was
    /// killed an hour ago or earlier is removed.
    ///
    /// - Parameters:
    ///   - mode: what the file gets, whatever the umask, where its file system has modes.
    ///   - replacing: whether a file of that name gives way; else it is left as it is, and the call fails.
    public static func write(_ bytes: [UInt8], to path: String, mode: mode_t, replacing: Bool) throws {
        let entry = try Entry(at: path)
        sweep(entry.folder)
        let staged = stagedPrefix + UInt64.random(in: .min ... .max).padded(to: 16, radix: 16)

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

    private static let stagedPrefix = ".escapepod-"

    /// Removes staged files of ours. One that is being written is never as old as that, and a name in a folder of somebody
    /// else leads to nothing but that name. What cannot be removed stays.
    private static func sweep(_ folder: borrowing Descriptor) {
        let latest = time(nil) - 3600
        for name in (try? folder.names(startingWith: stagedPrefix)) ?? []
        where String(name.dropFirst(stagedPrefix.count)).isHex(bytes: 8) {
            var status = stat()
            guard fstatat(folder.number, name, &status, AT_SYMLINK_NOFOLLOW) == 0,
                status.st_mode & S_IFMT == S_IFREG, status.st_uid == geteuid(), status.st_mtim.tv_sec < latest
            else { continue }
            unlinkat(folder.number, name, 0)
        }
    }
}
