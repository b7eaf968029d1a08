import CLinux
import Glibc
import Plumbing
import SendStream

/// The commands that change a mode, an owner or an extended attribute.
extension Applier {
    mutating func changeMode(_ frame: Frame) throws {
        let mode: UInt64 = try frame.number(.mode)
        guard mode <= 0o7777 else { throw frame.refuse("an invalid mode") }
        try changeMode(of: path(frame, orRoot: true), to: mode_t(mode), frame)
    }

    private mutating func changeMode(of path: Path, to mode: mode_t, _ frame: Frame) throws {
        try call("cannot set the mode of", path, frame) { folder, name in
            let changed = linux_chmod(folder, name, mode)
            guard changed < 0, errno == ENOSYS else { return changed }
            var status = stat()
            guard fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else { return -1 }
            guard status.st_mode & S_IFMT != S_IFLNK else {
                errno = EOPNOTSUPP
                return -1
            }
            return fchmodat(folder, name, mode, 0)
        }
    }

    mutating func changeOwner(_ frame: Frame) throws {
        let owner: UInt64 = try frame.number(.owner)
        let group: UInt64 = try frame.number(.group)
        // The last one means "as it is" to the kernel.
        guard owner < UInt32.max, group < UInt32.max else { throw frame.refuse("an invalid owner") }
        let path = try path(frame, orRoot: true)
        // A change of owner takes the set-user-ID bit, and a stream does not name a mode that is as it was in the parent.
        // btrfs receive loses it.
        var before = stat()
        let mayHaveIt = parent != nil
        try call("cannot set the owner of", path, frame) { folder, name in
            let looked = mayHaveIt ? fstatat(folder, name, &before, AT_SYMLINK_NOFOLLOW) : 0
            return looked < 0
                ? looked : fchownat(folder, name, uid_t(owner), gid_t(group), AT_SYMLINK_NOFOLLOW)
        }
        if before.st_mode & S_IFMT == S_IFREG, before.st_mode & (S_ISUID | S_ISGID) != 0 {
            try changeMode(of: path, to: before.st_mode & 0o7777, frame)
        }
        if let capabilities, capabilities.path.elementsEqual(path.bytes) {
            try capabilities.value.withUnsafeBytes { try set("security.capability", to: $0, of: path, frame) }
        }
        capabilities = nil
    }

    mutating func changeAttribute(_ frame: Frame) throws {
        let path = try path(frame, orRoot: true)
        let name = try string(.attributeName, frame)
        if path.bytes.isEmpty, let name = Applier.inherited.first(where: { strcmp($0, name) == 0 }) {
            let value = frame.command == .setAttribute ? Array(try frame.bytes(.attributeValue)) : nil
            heldBack.removeAll { $0.name == name }
            return heldBack.append((name, value))
        }
        guard frame.command == .setAttribute else {
            return try call("cannot remove an extended attribute of", path, frame) { folder, entry in
                let removed = linux_removexattrat(folder, entry, name)
                guard removed < 0, errno == ENOSYS else { return Applier.blaming(name, removed) }
                return Applier.byPath(folder, entry) { linux_lremovexattr($0, name) }
            }
        }
        let value = try frame.bytes(.attributeValue)
        try set(name, to: value, of: path, frame)
        if strcmp(name, "security.capability") == 0 { capabilities = (Array(path.bytes), Array(value)) }
    }

    private mutating func set(
        _ name: UnsafePointer<CChar>, to value: UnsafeRawBufferPointer, of path: Path, _ frame: Frame
    ) throws {
        try call("cannot set the extended attribute \(printable(String(cString: name))) of", path, frame) {
            folder, entry in
            let set = linux_setxattrat(folder, entry, name, value.baseAddress, value.count)
            if set < 0, errno == ENOSYS {
                return Applier.byPath(folder, entry) {
                    linux_lsetxattr($0, name, value.baseAddress, value.count)
                }
            }
            return Applier.blaming(name, set)
        }
    }

    /// xattr(7): only files and folders have attributes of users, so the refusal is the stream's fault.
    private static func blaming(_ name: UnsafePointer<CChar>, _ result: Int32) -> Int32 {
        if result < 0, errno == EPERM, strncmp(name, "user.", 5) == 0 { errno = EINVAL }
        return result
    }

    /// Calls with a path to the entry of an open folder, for what takes no folder and a name.
    private static func byPath(
        _ folder: Int32, _ name: UnsafePointer<CChar>, _ body: (UnsafePointer<CChar>) -> Int32
    ) -> Int32 {
        var path = [CChar]("/proc/self/fd/\(folder)/".utf8CString.dropLast())
        path += UnsafeBufferPointer(start: name, count: strlen(name) + 1)
        return body(path)
    }
}
