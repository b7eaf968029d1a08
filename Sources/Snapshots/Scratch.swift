import CBtrfsUtil
import CLinux
import Glibc
import Plumbing

/// A folder in which a restore or a drill makes what is not ready: root's own, closed to others, and known by a mark that
/// only root can set. So it is found again by what it is and not by its name, in a folder that others may write to too.
///
/// The caller opens its path once, checks that descriptor by coming back here with `/dev/fd/N`, and holds flock(2) on it:
/// who is not root cannot open it, so cannot hold that lock.
public struct Scratch: ~Copyable {
    private static let prefix = ".escapepod-"
    private static let mark = "trusted.escapepod.scratch"
    /// What becomes the live volume.
    private static let live = "live"

    /// Where it is; no place to trust.
    public var path: String { directory.name }
    let directory: Descriptor

    private init(_ directory: consuming Descriptor) { self.directory = directory }

    /// The scratch folder in `folder` that is marked for this purpose; nil where there is none.
    ///
    /// - Parameter purpose: what it is for, such as `restore pod`; of several in one folder, each has its own.
    public static func find(in folder: String, for purpose: String) throws -> Scratch? {
        try find(in: open(folder), for: purpose)
    }

    /// The same, made where there is none.
    ///
    /// - Throws: `unavailable` if the folder is missing, or its file system cannot store the mark.
    public static func findOrMake(in folder: String, for purpose: String) throws -> Scratch {
        let directory = try open(folder)
        if let found = try find(in: directory, for: purpose) { return found }
        for _ in 0..<100 {
            if let made = try make(in: directory, for: purpose) { return made }
        }
        throw Failure(.busy, "other runs remove the scratch folder", at: folder, hint: "run it again")
    }

    /// Makes one; nil where another run takes it for what a killed one has left.
    private static func make(in directory: borrowing Descriptor, for purpose: String) throws -> Scratch? {
        let name = prefix + UInt64.random(in: .min ... .max).padded(to: 16, radix: 16)
        guard mkdirat(directory.number, name, 0o700) == 0 else {
            throw Failure.system("cannot create a folder", at: directory.path(of: name))
        }
        do {
            let made = try Descriptor(opening: name, in: directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
            guard flock(made.number, LOCK_EX | LOCK_NB) == 0, try made.status().st_nlink > 0 else {
                unlinkat(directory.number, name, AT_REMOVEDIR)
                return nil
            }
            try made.requirePrivate(hint: hint)
            let text = Array(purpose.utf8)
            guard linux_fsetxattr(made.number, mark, text, text.count) == 0 else {
                let failure = Failure.system("", at: nil)
                throw Failure(
                    failure.status == .denied ? .denied : .unavailable,
                    "cannot mark the scratch folder\(failure.what)",
                    at: made.name, hint: "this requires root, and a file system with extended attributes")
            }
            return Scratch(made)
        } catch let failure as Failure where failure.code == ENOENT {
            return nil
        } catch {
            unlinkat(directory.number, name, AT_REMOVEDIR)
            throw error
        }
    }

    /// Opens one again, after checking that it still exists and is one of ours.
    ///
    /// - Throws: `denied` if it is not one; `busy` if another run has removed it meanwhile.
    public init(at path: String) throws {
        let directory = try Descriptor.folder(at: path)
        try directory.requirePrivate(hint: Scratch.hint)
        guard try Scratch.purpose(of: directory) != nil else {
            throw Failure(.denied, "not an escapepod scratch folder", at: path, hint: Scratch.hint)
        }
        guard try directory.status().st_nlink > 0 else {
            throw Failure(.busy, "another run has removed the scratch folder", at: path, hint: "run it again")
        }
        self.init(directory)
    }

    /// Makes `snapshot` the live volume at `path`, writable, with the inode flags that it has a record of, and with the slots
    /// that its next backup builds on. Nothing is there under that name before all is done; nothing that has the name is
    /// replaced.
    ///
    /// - Parameters:
    ///   - snapshot: the name of a received snapshot in the scratch folder.
    ///   - slots: which snapshot, by its name in the scratch folder, goes into which slot.
    ///   - folder: the name of the folder of the slots.
    ///   - flags: of these inode flags.
    ///   - warn: is told why the slots could not be kept: what was restored has something else in their place; and which
    ///     inode flags did not come back.
    public func promote(
        _ snapshot: String, to path: String, slots: [(slot: Slot, name: String)], folder: String,
        flags: InodeFlags, warn: (String) -> Void
    ) throws {
        let place = try Entry(at: path)
        try delete(Scratch.live)
        try Subvolume(snapshot, in: directory).snapshot(as: Scratch.live, in: directory, readOnly: false)
        do {
            let live = try Slots(in: Subvolume(Scratch.live, in: directory), name: folder)
            for (slot, name) in slots {
                _ = try live.importSnapshot(Subvolume(name, in: directory), into: slot)
            }
        } catch let failure as Failure where failure.status == .denied || failure.status == .badData {
            warn(
                "\(failure.what)\(failure.place.map { ": \($0)" } ?? ""); the next backup will be full")
        }
        try Subvolume(Scratch.live, in: directory).restoreFlags(flags, warn: warn)
        try directory.syncFileSystem()
        guard linux_rename_new(directory.number, Scratch.live, place.folder.number, place.name) == 0 else {
            throw errno == EEXIST
                ? Failure(
                    .io, "it exists already", at: path,
                    hint: "somebody created it meanwhile; choose another name")
                : Failure.system("cannot move into place", at: path)
        }
        try place.folder.syncFileSystem()
    }

    /// Holds the lock of whoever works in it, for as long as the value lives.
    ///
    /// - Throws: `busy` where another run has it.
    public func lock() throws {
        guard flock(directory.number, LOCK_EX | LOCK_NB) == 0 else {
            throw errno == EWOULDBLOCK
                ? Failure(
                    .busy, "another run is in progress", at: path,
                    hint: "run it again when that one is done")
                : Failure.system("cannot lock", at: path)
        }
    }

    /// Whether a snapshot of that name was received whole: it is read-only, and has that received UUID.
    func has(_ name: String, received: String) -> Bool {
        guard let there = try? Snapshot(of: Subvolume(name, in: directory)) else { return false }
        return there.isReadOnly && there.receivedUUID == received.lowercased()
    }

    /// Deletes one of the snapshots in it, with everything inside; does nothing if there is none.
    public func delete(_ name: String) throws {
        var status = stat()
        guard fstatat(directory.number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
            guard errno == ENOENT else {
                throw Failure.system("cannot stat", at: directory.path(of: name))
            }
            return
        }
        let number = directory.number
        switch status.st_mode & S_IFMT {
        case S_IFDIR:
            // Nobody else can come in here, so the names on the way stay what they are.
            try btrfs("cannot delete", at: directory.path(of: name)) {
                btrfs_util_delete_subvolume_fd(number, name, Int32(BTRFS_UTIL_DELETE_SUBVOLUME_RECURSIVE))
            }
        default:
            guard unlinkat(number, name, 0) == 0 else {
                throw Failure.system("cannot delete", at: directory.path(of: name))
            }
        }
    }

    /// Deletes all that is in it, and itself.
    ///
    /// - Parameter path: where it is; only an empty folder is removed from there.
    public consuming func remove(at path: String) throws {
        for name in try directory.names() { try delete(name) }
        let place = try Entry(at: path)
        guard unlinkat(place.folder.number, place.name, AT_REMOVEDIR) == 0 || errno == ENOENT else {
            throw Failure.system("cannot remove the scratch folder", at: path)
        }
    }
}

extension Scratch {
    private static let hint = "somebody else created or changed it; remove it, or choose another place"

    private static func open(_ folder: String) throws -> Descriptor {
        try .folder(
            at: folder,
            absent: Failure(
                .unavailable, "no such folder", at: folder, hint: "choose one that has enough free space"))
    }

    private static func find(in folder: borrowing Descriptor, for purpose: String) throws -> Scratch? {
        for name in try folder.names() where name.hasPrefix(prefix) {
            let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW
            // Whatever others may have put there is not ours.
            guard let found = try? Descriptor(opening: name, in: folder, flags),
                (try? found.requirePrivate(hint: "")) != nil
            else { continue }
            switch try self.purpose(of: found) {
            case purpose: return Scratch(found)
            // Of a run that was killed before it could mark it: no other one has the lock, and it is empty.
            case nil where flock(found.number, LOCK_EX | LOCK_NB) == 0:
                if try self.purpose(of: found) == nil { unlinkat(folder.number, name, AT_REMOVEDIR) }
            default: continue
            }
        }
        return nil
    }

    private static func purpose(of folder: borrowing Descriptor) throws -> String? {
        var text = [UInt8](repeating: 0, count: 512)
        let count = linux_fgetxattr(folder.number, mark, &text, text.count)
        guard count >= 0 else {
            guard errno == ENODATA || errno == ENOTSUP else {
                throw Failure.system("cannot read its mark", at: folder.name)
            }
            return nil
        }
        return String(decoding: text.prefix(count), as: UTF8.self)
    }
}
