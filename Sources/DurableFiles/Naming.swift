public import Glibc
import Plumbing

/// How something comes to be there: its bytes first, under a name that no reader knows; then its name; then the sync of the
/// folder. A crash after any of the steps leaves it whole under its name, or not there.
extension Folder {
    /// What becomes of a file that has the name already.
    public enum Taken: Sendable {
        /// It stays, and the call fails.
        case refused
        /// It goes: it has the same bytes, or worse ones.
        case replaced
    }

    /// Gives a file that is on stable storage its name in `folder`, durably. A new name that cannot be made durable is taken
    /// away again, so that nobody ever builds on it.
    ///
    /// Not every file system can refuse a taken name by itself: the caller is alone with the folder.
    ///
    /// - Parameter old: its name in this folder, which may be the same one.
    public func name(_ old: String, in folder: Folder, as new: String, taken: Taken) throws {
        let isNew: Bool
        switch taken {
        case .refused:
            isNew = true
            try withDescriptor { from in
                try folder.withDescriptor { try from.rename(old, into: $0, asNew: new) }
            }
        case .replaced:
            isNew = !folder.contains(new)
            try rename(old, into: folder, as: new)
        }
        do { try folder.sync() } catch {
            if isNew { folder.remove(new) }
            throw error
        }
    }

    private func contains(_ name: String) -> Bool {
        var status = stat()
        return fstatat(number, name, &status, AT_SYMLINK_NOFOLLOW) == 0
    }

    /// Puts a small file in place whole or not at all, durably.
    ///
    /// - Parameters:
    ///   - staged: the name in `staging` under which it is written; whatever has it goes.
    ///   - staging: a folder of the same file system; nil where it is this one.
    ///   - mode: what the file gets, whatever the umask, where its file system has modes. Until it is whole only we can open it.
    public func put(
        _ bytes: [UInt8], as name: String, stagedAs staged: String, in staging: Folder? = nil, mode: mode_t,
        taken: Taken
    ) throws {
        let staging = staging ?? self
        try staging.delete(staged)
        let file = try staging.open(staged, O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
        do {
            try file.write(bytes)
            _ = fchmod(file.number, mode)
            try file.sync()
            try staging.name(staged, in: self, as: name, taken: taken)
        } catch {
            staging.remove(staged)
            throw error
        }
    }
}
