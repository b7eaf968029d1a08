import CBtrfsUtil
import CLinux
import Glibc
import Plumbing
import SendStream

/// Does to a tree what the commands of a stream say, as `btrfs receive` does it.
struct Applier: ~Copyable {
    private var tree: Tree
    private let identity: Identity
    private let parent: Parent?
    /// Room for the two paths that a command may have, and for an attribute's name.
    private let room = UnsafeMutablePointer<UInt8>.allocate(capacity: 2 * Path.room)
    private let text = UnsafeMutablePointer<CChar>.allocate(capacity: Path.room)
    /// Kernels before 5.8 send a file's capabilities before its owner, and a change of owner removes them.
    private var capabilities: (path: [UInt8], value: [UInt8])?
    /// What new files would inherit of the root, where every stream makes them, and so have too much: the root has it
    /// only at the end. `btrfs receive` lets them inherit it.
    private var heldBack: [(name: String, value: [UInt8]?)] = []
    private static let inherited = ["system.posix_acl_default", "btrfs.compression"]

    /// What data may be shared with, beside the tree itself.
    struct Parent {
        let root: Int32
        /// The UUIDs that mean it.
        let uuids: [String]
    }

    init(to root: borrowing Descriptor, of identity: Identity, upon parent: Parent?) throws {
        self.tree = Tree(at: root)
        self.identity = identity
        self.parent = parent
        guard parent != nil else { return }
        let number = root.number
        for name in Applier.inherited {
            var value = [UInt8](repeating: 0, count: 64 << 10)
            let count = linux_fgetxattr(number, name, &value, value.count)
            if count < 0, errno == ENODATA || errno == ENOTSUP { continue }
            guard count >= 0, linux_fremovexattr(number, name) == 0 else {
                throw Failure.system(
                    "cannot remove the extended attribute \(name) from the root", at: root.name)
            }
            heldBack.append((name, Array(value.prefix(count))))
        }
    }

    deinit {
        room.deallocate()
        text.deallocate()
    }

    /// - Throws: `badData` for a command that reaches outside the tree, or that does not fit it.
    mutating func apply(_ frame: Frame) throws {
        switch frame.command {
        case .makeFile:
            try tree.make(path(frame), frame)
        case .makeFolder:
            try call("cannot create the folder", frame) { mkdirat($0, $1, 0o700) }
        case .makeDevice:
            let mode: UInt64 = try frame.number(.mode)
            let device: UInt64 = try frame.number(.device)
            let kind = mode_t(truncatingIfNeeded: mode) & S_IFMT
            guard kind == S_IFCHR || kind == S_IFBLK, device <= UInt32.max else {
                throw frame.refuse("an invalid device number")
            }
            try call("cannot create the device", frame) { mknodat($0, $1, kind, dev_t(device)) }
        case .makePipe:
            try call("cannot create the named pipe", frame) { mknodat($0, $1, S_IFIFO | 0o600, 0) }
        case .makeSocket:
            try call("cannot create the socket", frame) { mknodat($0, $1, S_IFSOCK | 0o600, 0) }
        case .makeLink:
            let target = try string(.target, frame)
            try call("cannot create the symbolic link", frame) { symlinkat(target, $0, $1) }
        case .rename: try rename(frame)
        case .link: try link(frame)
        case .unlink, .removeFolder:
            let path = try path(frame)
            let flags = frame.command == .unlink ? 0 : AT_REMOVEDIR
            try call("cannot remove", path, frame) { unlinkat($0, $1, flags) }
            tree.gone(path)
            capabilities = nil
        case .setAttribute, .removeAttribute: try changeAttribute(frame)
        case .write: try write(frame)
        case .writeEncoded: try writeEncoded(frame)
        case .clone: try clone(frame)
        case .truncate:
            let path = try path(frame)
            let size = try length(.size, frame)
            let file = try tree.file(at: path, frame)
            guard retrying({ ftruncate(file, size) }) == 0 else {
                throw tree.failure("cannot set the length of", path, frame)
            }
        case .allocate:
            let path = try path(frame)
            let mode: UInt32 = try frame.number(.allocationMode)
            let (offset, length) = try range(.offset, frame.number(.size), frame)
            let file = try tree.file(at: path, frame)
            guard retrying({ linux_fallocate(file, Int32(bitPattern: mode), offset, length) }) == 0 else {
                throw tree.failure("cannot allocate space in", path, frame)
            }
        case .changeMode: try changeMode(frame)
        case .changeOwner: try changeOwner(frame)
        case .setTimes:
            let accessed = try time(.accessed, frame)
            let modified = try time(.modified, frame)
            try call("cannot set the times of", path(frame, orRoot: true), frame) { folder, name in
                withUnsafePointer(to: (accessed, modified)) {
                    UnsafeRawPointer($0).withMemoryRebound(to: timespec.self, capacity: 2) {
                        utimensat(folder, name, $0, AT_SYMLINK_NOFOLLOW)
                    }
                }
            }
        case .setFlags:
            // What chattr(1) sets is left out, as btrfs receive does.
            _ = try frame.number(.flags) as UInt64
            var status = stat()
            try call("cannot stat", path(frame, orRoot: true), frame) {
                fstatat($0, $1, &status, AT_SYMLINK_NOFOLLOW)
            }
        case .updateExtent:
            throw frame.refuse(
                "the btrfs stream contains no data", hint: "it was made with btrfs send --no-data")
        case .enableVerity:
            throw Failure(
                .unavailable, "the btrfs stream contains a file with fs-verity, which is not supported",
                at: try path(frame).shown)
        case .subvolume, .snapshot, .end:
            throw Failure(.bug, "command \(frame.command.rawValue) cannot be applied")
        }
    }

    /// Ends the work on the tree.
    mutating func finish() throws {
        tree.closeFile()
        for (name, value) in heldBack {
            guard let value else { continue }
            guard linux_fsetxattr(tree.root.number, name, value, value.count) == 0 else {
                let failure = Failure.system("cannot set the extended attribute \(name) of the root", at: nil)
                throw errno == EINVAL ? Failure(.badData, failure.what) : failure
            }
        }
    }
}

// MARK: - Names

extension Applier {
    private mutating func rename(_ frame: Frame) throws {
        let old = try path(frame)
        let new = try Path(.pathTo, of: frame, in: room + Path.room)
        let from = try tree.folder(of: old, frame)
        let to = try tree.folder(of: new, frame)
        guard renameat(from, old.name, to, new.name) == 0 else {
            throw tree.failure("cannot rename to \(new.shown):", old, frame)
        }
        tree.moved(old, to: new)
        capabilities = nil
    }

    private mutating func link(_ frame: Frame) throws {
        let new = try path(frame)
        let old = try Path(.target, of: frame, in: room + Path.room)
        let from = try tree.folder(of: old, frame)
        let to = try tree.folder(of: new, frame)
        // Without AT_SYMLINK_FOLLOW: a symbolic link gets another name itself.
        guard linkat(from, old.name, to, new.name, 0) == 0 else {
            // linkat(2): a folder.
            guard errno != EPERM else { throw frame.refuse("\(old.shown) cannot have a hard link") }
            throw tree.failure("cannot create a hard link to \(old.shown):", new, frame)
        }
    }
}

// MARK: - Content

extension Applier {
    private mutating func write(_ frame: Frame) throws {
        let path = try path(frame)
        var data = try frame.bytes(.data)
        var (offset, _) = try range(.offset, UInt64(data.count), frame)
        let file = try tree.file(at: path, frame)
        while !data.isEmpty {
            let count = retrying { pwrite(file, data.baseAddress, data.count, offset) }
            guard count > 0 else { throw tree.failure("cannot write to", path, frame) }
            data = .init(rebasing: data[count...])
            offset += off_t(count)
        }
    }

    private mutating func writeEncoded(_ frame: Frame) throws {
        let path = try path(frame)
        let data = try frame.bytes(.data)
        let fileLength: UInt64 = try frame.number(.unencodedFileLength)
        let (offset, _) = try range(.offset, fileLength, frame)
        let length: UInt64 = try frame.number(.unencodedLength)
        let start: UInt64 = try frame.number(.unencodedOffset)
        let compression = try frame.numberOrZero(.compression)
        guard try frame.numberOrZero(.encryption) == 0 else {
            throw frame.refuse("unknown encryption")
        }
        guard compression > 0, compression < UInt32(BTRFS_ENCODED_IO_COMPRESSION_TYPES) else {
            throw frame.refuse("unknown compression \(compression)")
        }
        let file = try tree.file(at: path, frame)
        let written = retrying {
            btrfs_write_encoded(
                file, data.baseAddress, data.count, Int64(offset), fileLength, length, start, compression)
        }
        guard written < 0 else { return }
        switch errno {
        case ENOTTY:
            throw Failure(
                .unavailable, "this kernel does not accept compressed data", at: path.shown,
                hint: "Linux 5.18 or newer is required")
        case EINVAL:
            throw frame.refuse(
                "compressed data that this file system does not accept: \(path.shown)",
                hint:
                    "its sector size may differ from where the stream was made; btrfs receive decompresses"
            )
        default: throw tree.failure("cannot write compressed data to", path, frame)
        }
    }

    private mutating func clone(_ frame: Frame) throws {
        let path = try path(frame)
        let from = try Path(.clonePath, of: frame, in: room + Path.room)
        let length: UInt64 = try frame.number(.cloneLength)
        let (offset, _) = try range(.offset, length, frame)
        let (start, _) = try range(.cloneOffset, length, frame)
        let uuid = try frame.uuid(.cloneUUID).uuid
        let isInTree = uuid == identity.uuid
        guard isInTree || parent?.uuids.contains(uuid) == true else {
            throw frame.refuse(
                "data shared with a subvolume that is neither this one nor its parent: \(uuid)",
                hint: "btrfs send -c makes such streams; send without it")
        }
        let file = try tree.file(at: path, frame)
        let source =
            try isInTree
            ? tree.source(at: from, frame) : Applier.source(at: from, below: parent?.root ?? -1, frame)
        let cloned = retrying {
            linux_clone_range(file, UInt64(offset), source.number, UInt64(start), length)
        }
        guard cloned == 0 else { throw tree.failure("cannot share data of \(from.shown) with", path, frame) }
    }

    private static func source(at path: Path, below root: Int32, _ frame: Frame) throws -> Descriptor {
        let folder = Tree.open(folderOf: path, below: root)
        guard folder >= 0 else { throw Tree.failure("cannot open the folder of", path, frame) }
        defer { close(folder) }
        return Descriptor(owning: try Tree.open(path, in: folder, O_RDONLY, frame), name: path.shown)
    }
}

// MARK: - Inodes

extension Applier {
    private mutating func changeMode(_ frame: Frame) throws {
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

    private mutating func changeOwner(_ frame: Frame) throws {
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

    private mutating func changeAttribute(_ frame: Frame) throws {
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

// MARK: - Values

extension Applier {
    private func path(_ frame: Frame, orRoot: Bool = false) throws -> Path {
        try Path(.path, of: frame, in: room, orRoot: orRoot)
    }

    /// Calls with the folder that the command's path is in and its name there; below 0 is a failure, as `errno` says.
    private mutating func call(
        _ what: String, _ frame: Frame, _ body: (Int32, UnsafePointer<CChar>) -> Int32
    ) throws {
        try call(what, path(frame), frame, body)
    }

    private mutating func call(
        _ what: @autoclosure () -> String, _ path: Path, _ frame: Frame,
        _ body: (Int32, UnsafePointer<CChar>) -> Int32
    ) throws {
        let folder = try tree.folder(of: path, frame)
        guard retrying({ body(folder, path.name) }) >= 0 else { throw tree.failure(what(), path, frame) }
    }

    /// A text that is no path of the tree, with a zero at its end. It stays until the next one is asked for.
    private func string(_ attribute: Attribute, _ frame: Frame) throws -> UnsafePointer<CChar> {
        let value = try frame.bytes(attribute)
        guard (1..<Path.room).contains(value.count), !value.contains(0) else {
            throw frame.refuse("an invalid string of \(value.count) bytes")
        }
        UnsafeMutableRawPointer(text).copyMemory(from: value.baseAddress!, byteCount: value.count)
        text[value.count] = 0
        return UnsafePointer(text)
    }

    private func length(_ attribute: Attribute, _ frame: Frame) throws -> off_t {
        guard let value = off_t(exactly: try frame.number(attribute) as UInt64) else {
            throw frame.refuse("a length beyond 63 bits")
        }
        return value
    }

    private func range(_ attribute: Attribute, _ length: UInt64, _ frame: Frame) throws -> (off_t, off_t) {
        let start: UInt64 = try frame.number(attribute)
        let (end, overflow) = start.addingReportingOverflow(length)
        guard !overflow, end <= UInt64(off_t.max) else { throw frame.refuse("an offset beyond 63 bits") }
        return (off_t(start), off_t(length))
    }

    private func time(_ attribute: Attribute, _ frame: Frame) throws -> timespec {
        let (seconds, nanoseconds) = try frame.time(attribute)
        return timespec(tv_sec: Int(seconds), tv_nsec: Int(nanoseconds))
    }
}
