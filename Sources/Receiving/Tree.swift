import CLinux
import Glibc
import Plumbing
import SendStream

/// The subvolume that a stream is applied to, and nothing but that: whatever the stream names is reached from its root
/// by way of real folders, no symbolic link is followed, and no device, pipe or socket is opened.
///
/// Nobody else changes the tree meanwhile, because it lies in a folder that is closed to others.
struct Tree: ~Copyable {
    let root: Descriptor
    /// The folders used last.
    private var folders = [OpenFolder](repeating: .init(), count: 4)
    private var clock: UInt64 = 0
    /// The file written last; -1 for none.
    private var file: Int32 = -1
    private var filePath = KeptPath()
    /// How many bytes of it have been written, and not yet begun with.
    private var fresh = 0
    private let writeBack = WriteBack()

    private struct OpenFolder {
        var number: Int32 = -1
        var path = KeptPath()
        var used: UInt64 = 0
    }

    init(at root: borrowing Descriptor) {
        self.root = Descriptor(borrowing: root)
    }

    deinit {
        if file >= 0 { Glibc.close(file) }
        try? writeBack.end()
        for folder in folders where folder.number >= 0 { Glibc.close(folder.number) }
    }

    /// The open folder that a path is in. It stays open until two others have been asked for.
    mutating func folder(of path: Path, _ frame: Frame) throws -> Int32 {
        let wanted = path.folder
        if wanted.isEmpty { return root.number }
        clock += 1
        var oldest = 0
        for index in folders.indices {
            if folders[index].number >= 0, folders[index].path.isSame(as: wanted) {
                folders[index].used = clock
                return folders[index].number
            }
            if folders[index].used < folders[oldest].used { oldest = index }
        }
        let number = Tree.open(folderOf: path, below: root.number)
        guard number >= 0 else { throw failure("cannot open the folder of", path, frame) }
        if folders[oldest].number >= 0 { Glibc.close(folders[oldest].number) }
        folders[oldest].number = number
        folders[oldest].path.keep(wanted)
        folders[oldest].used = clock
        return number
    }

    /// Makes a new file, which is then the one that is open.
    mutating func make(_ path: Path, _ frame: Frame) throws {
        let folder = try folder(of: path, frame)
        let number = retrying {
            openat(folder, path.name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        }
        guard number >= 0 else { throw failure("cannot create the file", path, frame) }
        try hold(number, path)
    }

    /// The file at a path, open for reading and writing until another one is.
    mutating func file(at path: Path, _ frame: Frame) throws -> Int32 {
        if file >= 0, filePath.isSame(as: path.bytes) { return file }
        let folder = try folder(of: path, frame)
        try hold(Tree.open(path, in: folder, O_RDWR, frame), path)
        return file
    }

    /// The same for reading only, as a descriptor of its own.
    mutating func source(at path: Path, _ frame: Frame) throws -> Descriptor {
        Descriptor(
            owning: try Tree.open(path, in: folder(of: path, frame), O_RDONLY, frame), name: path.shown)
    }

    /// What has another name now, or none, is not found under the old one.
    mutating func moved(_ path: Path, to new: Path) throws {
        let (old, name) = (path.bytes, new.bytes)
        if file >= 0 {
            if filePath.isSame(as: old) {
                filePath.keep(name)
            } else if filePath.isSame(as: name) || filePath.lies(at: old) {
                try closeFile()
            }
        }
        forgetFolders(at: old)
        forgetFolders(at: name)
    }

    mutating func gone(_ path: Path) throws {
        if file >= 0, filePath.isSame(as: path.bytes) { try closeFile() }
        forgetFolders(at: path.bytes)
    }

    /// So many bytes have been written to the file.
    mutating func wrote(_ count: Int) throws {
        fresh += count
        guard fresh >= WriteBack.step else { return }
        let copy = fcntl(file, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0 else { throw Failure.system("cannot duplicate a descriptor", at: nil) }
        fresh = 0
        try writeBack.take(copy)
    }

    private mutating func closeFile() throws {
        let (number, isFresh) = (file, fresh > 0)
        (file, fresh) = (-1, 0)
        if isFresh { try writeBack.take(number) } else if number >= 0 { Glibc.close(number) }
    }

    /// Nothing more is written.
    ///
    /// - Throws: what went wrong when it was written to the disk.
    mutating func finish() throws {
        try closeFile()
        try writeBack.end()
    }

    private mutating func hold(_ number: Int32, _ path: Path) throws {
        try closeFile()
        file = number
        filePath.keep(path.bytes)
    }

    private mutating func forgetFolders(at path: UnsafeRawBufferPointer) {
        for index in folders.indices where folders[index].number >= 0 && folders[index].path.lies(at: path) {
            Glibc.close(folders[index].number)
            folders[index].number = -1
            folders[index].used = 0
        }
    }
}

// MARK: - Opening

extension Tree {
    /// The folder that a path is in, below an open one; -1 and `errno` on failure.
    static func open(folderOf path: Path, below root: Int32) -> Int32 {
        path.withFolder { folder in
            retrying { linux_open_beneath(root, folder, O_RDONLY | O_DIRECTORY) }
        }
    }

    /// Opens a regular file; looks first, because to open a device is to use it.
    static func open(_ path: Path, in folder: Int32, _ flags: Int32, _ frame: Frame) throws -> Int32 {
        var status = stat()
        guard fstatat(folder, path.name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
            throw failure("cannot open", path, frame)
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw frame.refuse("not a regular file: \(path.shown)")
        }
        let number = retrying { openat(folder, path.name, flags | O_NOFOLLOW | O_CLOEXEC) }
        guard number >= 0 else { throw failure("cannot open", path, frame) }
        return number
    }

    /// A system call failed: the stream is to blame where it names what is not there, or what cannot be.
    static func failure(_ what: String, _ path: Path, _ frame: Frame) -> Failure {
        let code = errno
        let failure = Failure.system("\(what) \(path.shown)", at: nil, errno: code)
        switch code {
        case ENOENT, EEXIST, ENOTDIR, EISDIR, ENOTEMPTY, ELOOP, EXDEV, EMLINK, EINVAL, ENAMETOOLONG, EFBIG,
            ERANGE, E2BIG,
            ENODATA, EOPNOTSUPP:
            return frame.refuse(failure.what, hint: "the stream does not fit, or is malicious")
        case ENOSYS:
            return Failure(
                .unavailable, failure.what, hint: "receiving requires Linux 5.6 or newer")
        default: return failure
        }
    }

    func failure(_ what: String, _ path: Path, _ frame: Frame) -> Failure { Tree.failure(what, path, frame) }
}
