import CLinux
import Glibc
import Plumbing
import SendStream

/// Does to a tree what the commands of a stream say, as `btrfs receive` does it.
struct Applier: ~Copyable {
    var tree: Tree
    let identity: Identity
    let parent: Parent?
    /// Room for the two paths that a command may have, and for an attribute's name.
    let room = UnsafeMutablePointer<UInt8>.allocate(capacity: 2 * Path.room)
    let text = UnsafeMutablePointer<CChar>.allocate(capacity: Path.room)
    /// Kernels before 5.8 send a file's capabilities before its owner, and a change of owner removes them.
    var capabilities: (path: [UInt8], value: [UInt8])?
    /// What new files would inherit of the root, where every stream makes them, and so have too much: the root has it
    /// only at the end. `btrfs receive` lets them inherit it.
    var heldBack: [(name: String, value: [UInt8]?)] = []
    var hasDecompressed = false
    let note: (String) -> Void
    static let inherited = ["system.posix_acl_default", "btrfs.compression"]

    /// What data may be shared with, beside the tree itself.
    struct Parent {
        let root: Int32
        /// The UUIDs that mean it.
        let uuids: [String]
    }

    init(
        to root: borrowing Descriptor, of identity: Identity, upon parent: Parent?,
        note: @escaping (String) -> Void
    ) throws {
        self.tree = Tree(at: root)
        self.identity = identity
        self.parent = parent
        self.note = note
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
            try tree.gone(path)
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
            // No kernel sends them yet, and what is immutable could not be changed by what follows.
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
        try tree.finish()
        for (name, value) in heldBack {
            guard let value else { continue }
            guard linux_fsetxattr(tree.root.number, name, value, value.count) == 0 else {
                let failure = Failure.system("cannot set the extended attribute \(name) of the root", at: nil)
                throw errno == EINVAL ? Failure(.badData, failure.what) : failure
            }
        }
    }

    /// Calls with the folder that the command's path is in and its name there; below 0 is a failure, as `errno` says.
    mutating func call(
        _ what: String, _ frame: Frame, _ body: (Int32, UnsafePointer<CChar>) -> Int32
    ) throws {
        try call(what, path(frame), frame, body)
    }

    mutating func call(
        _ what: @autoclosure () -> String, _ path: Path, _ frame: Frame,
        _ body: (Int32, UnsafePointer<CChar>) -> Int32
    ) throws {
        let folder = try tree.folder(of: path, frame)
        guard retrying({ body(folder, path.name) }) >= 0 else { throw tree.failure(what(), path, frame) }
    }
}
