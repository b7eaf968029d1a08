import CBtrfsUtil
import CLinux
import Glibc
import Plumbing
import SendStream
import Snapshots

/// The commands that change what is in a file.
extension Applier {
    mutating func write(_ frame: Frame) throws {
        let path = try path(frame)
        let data = try frame.bytes(.data)
        let (offset, _) = try range(.offset, UInt64(data.count), frame)
        try write(data, at: offset, of: path, frame)
    }

    private mutating func write(
        _ data: UnsafeRawBufferPointer, at offset: off_t, of path: Path, _ frame: Frame
    ) throws {
        let file = try tree.file(at: path, frame)
        var (data, offset) = (data, offset)
        while !data.isEmpty {
            let count = retrying { pwrite(file, data.baseAddress, data.count, offset) }
            guard count > 0 else { throw tree.failure("cannot write to", path, frame) }
            data = .init(rebasing: data[count...])
            offset += off_t(count)
            try tree.wrote(count)
        }
    }

    mutating func writeEncoded(_ frame: Frame) throws {
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
        guard let kind = Decompression(compression) else {
            throw frame.refuse("unknown compression \(compression)")
        }
        guard length <= Decompression.longest, start <= length, fileLength <= length - start else {
            throw frame.refuse("compressed data of an impossible length")
        }
        let file = try tree.file(at: path, frame)
        let written = retrying {
            btrfs_write_encoded(
                file, data.baseAddress, data.count, Int64(offset), fileLength, length, start, compression)
        }
        guard written < 0 else { return }
        // A kernel before 5.18, another sector size, a mount without checksums: the data are then written as what they stand for.
        guard [ENOTTY, EINVAL, ENOSPC].contains(errno) else {
            throw tree.failure("cannot write compressed data to", path, frame)
        }
        let room = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(length), alignment: 16)
        defer { room.deallocate() }
        try kind.open(data, into: room, frame)
        try write(.init(rebasing: room[Int(start)...].prefix(Int(fileLength))), at: offset, of: path, frame)
        if !hasDecompressed {
            note("this file system does not take compressed data as they are: they need more room on it")
        }
        hasDecompressed = true
    }

    mutating func clone(_ frame: Frame) throws {
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
        func cloned() -> Bool {
            retrying { linux_clone_range(file, UInt64(offset), source.number, UInt64(start), length) } == 0
        }
        if cloned() { return }
        let failure = tree.failure("cannot share data of \(from.shown) with", path, frame)
        // A file without copy-on-write shares data with its like only. What shared data where the stream was made was alike.
        let target = Descriptor(borrowing: file, name: path.shown)
        let wanted = try InodeFlags(of: source).contains(.noCopyOnWrite)
        guard try InodeFlags(of: target).contains(.noCopyOnWrite) != wanted,
            try target.setNoCopyOnWrite(wanted, copyingIn: tree.root), cloned()
        else { throw failure }
    }

    private static func source(at path: Path, below root: Int32, _ frame: Frame) throws -> Descriptor {
        let folder = Tree.open(folderOf: path, below: root)
        guard folder >= 0 else { throw Tree.failure("cannot open the folder of", path, frame) }
        defer { close(folder) }
        return Descriptor(owning: try Tree.open(path, in: folder, O_RDONLY, frame), name: path.shown)
    }
}
