import CLinux
import Glibc
public import Plumbing

extension Descriptor {
    /// Takes copy-on-write from a file or folder, or gives it back. Of a file, the kernel lets that be done while it is empty
    /// only: its content is copied, and its times and capabilities are what they were.
    ///
    /// - Parameter folder: of the same subvolume, for a copy without a name.
    /// - Returns: whether that is so; not where there is no room to copy it.
    /// - Throws: `Failure.system` where the kernel wants no such flag, and nothing was changed; without its error number where
    ///   the file may have lost its content.
    public func setNoCopyOnWrite(_ wanted: Bool, copyingIn folder: borrowing Descriptor) throws -> Bool {
        var flags = try InodeFlags(of: self)
        guard flags.contains(.noCopyOnWrite) != wanted else { return true }
        flags.formSymmetricDifference(.noCopyOnWrite)
        let before = try status()
        guard before.st_mode & S_IFMT == S_IFREG, before.st_size > 0 else {
            try flags.set(on: self)
            return true
        }
        // Without an effect on a file that is not empty, but with the same refusals.
        try flags.set(on: self)
        guard let copy = try FileCopy.make(of: self, flags.intersection(.noCopyOnWrite), in: folder) else {
            return false
        }
        do {
            func check(_ result: Int32) throws {
                guard result == 0 else { throw Failure.system("cannot put back the content of", at: name) }
            }
            let capability = "security.capability"
            var value = [UInt8](repeating: 0, count: 64)
            let count = linux_fgetxattr(number, capability, &value, value.count)
            try check(ftruncate(number, 0))
            try flags.set(on: self)
            try copy.put(into: self, before.st_size)
            if count > 0 { try check(linux_fsetxattr(number, capability, value, count)) }
            try check(futimens(number, [before.st_atim, before.st_mtim]))
        } catch let failure as Failure {
            // Not one to go on from, whatever the kernel says.
            throw Failure(.io, failure.what, at: failure.place, hint: failure.hint)
        }
        return true
    }
}

/// The content of a file, with its holes.
private enum FileCopy: ~Copyable {
    case inMemory([(offset: off_t, bytes: [UInt8])])
    /// Without a name.
    case file(Descriptor)

    /// The longest content that is kept in memory. To share data makes the kernel write it out first, file by file.
    private static let short = 1 << 20

    /// Copies a file.
    ///
    /// - Parameter flags: what the file is to have that gets the content.
    /// - Returns: nil where there is no room for it.
    static func make(of source: borrowing Descriptor, _ flags: InodeFlags, in folder: borrowing Descriptor)
        throws -> FileCopy?
    {
        let size = try source.status().st_size
        guard size > short else {
            var parts: [(off_t, [UInt8])] = []
            try source.eachPart(below: size) { parts.append(($1, Array($0))) }
            return .inMemory(parts)
        }
        let directory = folder.number
        let number = retrying { openat(directory, ".", linux_O_TMPFILE | O_RDWR | O_CLOEXEC, 0o600) }
        guard number >= 0 else {
            guard isFull else { throw Failure.system("cannot create a copy of", at: source.name) }
            return nil
        }
        let copy = Descriptor(owning: number, name: source.name)
        // It has inherited what the folder has.
        guard linux_set_flags(number, flags.rawValue) == 0 else {
            throw Failure.system("cannot set the inode flags of a copy of", at: source.name)
        }
        var hasRoom = true
        try source.eachPart(below: size) {
            if hasRoom { hasRoom = try write($0, at: $1, to: copy) }
        }
        return hasRoom ? .file(copy) : nil
    }

    /// Gives the content to a file that is empty and is to have so many bytes.
    func put(into target: borrowing Descriptor, _ size: off_t) throws {
        guard ftruncate(target.number, size) == 0 else {
            throw Failure.system("cannot set the length of", at: target.name)
        }
        switch self {
        case .file(let file):
            guard linux_clone_range(target.number, 0, file.number, 0, UInt64(size)) == 0 else {
                throw Failure.system("cannot put back the content of", at: target.name)
            }
        case .inMemory(let parts):
            for (offset, bytes) in parts {
                guard try bytes.withUnsafeBytes({ try FileCopy.write($0, at: offset, to: target) }) else {
                    throw Failure.system("cannot put back the content of", at: target.name)
                }
            }
        }
    }

    /// Returns whether there was room; `errno` says more where not.
    private static func write(
        _ bytes: UnsafeRawBufferPointer, at start: off_t, to file: borrowing Descriptor
    ) throws -> Bool {
        let number = file.number
        var rest = bytes
        var offset = start
        while !rest.isEmpty {
            let count = retrying { pwrite(number, rest.baseAddress, rest.count, offset) }
            guard count > 0 else {
                guard isFull else { throw Failure.system("cannot copy", at: file.name) }
                return false
            }
            rest = .init(rebasing: rest[count...])
            offset += off_t(count)
        }
        return true
    }

    private static var isFull: Bool { errno == ENOSPC || errno == EDQUOT }
}

extension Descriptor {
    /// Calls with what is in a file, a part at a time, but for its holes.
    fileprivate func eachPart(below size: off_t, _ take: (UnsafeRawBufferPointer, off_t) throws -> Void)
        throws
    {
        let number = number
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { buffer.deallocate() }
        var offset: off_t = 0
        while offset < size {
            let start = lseek(number, offset, linux_SEEK_DATA)
            if start < 0, errno == ENXIO { return }
            let end = start < 0 ? start : min(lseek(number, start, linux_SEEK_HOLE), size)
            guard end >= 0 else { throw Failure.system("cannot look for holes", at: name) }
            offset = start
            while offset < end {
                let most = min(buffer.count, Int(end - offset))
                let count = retrying { pread(number, buffer.baseAddress, most, offset) }
                guard count > 0 else { throw Failure.system("cannot read", at: name) }
                try take(.init(rebasing: buffer[..<count]), offset)
                offset += off_t(count)
            }
        }
    }
}
