import CLinux
import Glibc
import Plumbing

/// Content, and where it has holes.
extension TreeComparison {
    func content(
        _ name: UnsafePointer<CChar>, _ original: stat, in one: Int32, _ copy: stat, in other: Int32
    ) throws {
        let from = try open(name, in: one, O_RDONLY)
        let to = try open(name, in: other, O_RDONLY)
        try flags(from, original, to, copy)
        guard original.st_size == copy.st_size else {
            return try tell("has \(copy.st_size) bytes, not \(original.st_size)")
        }
        var (was, now) = (Extent(), Extent())
        var offset: off_t = 0
        var filled: UInt64 = 0
        while offset < original.st_size {
            if offset >= was.end { was = try extent(at: offset, of: from, below: original.st_size) }
            if offset >= now.end { now = try extent(at: offset, of: to, below: original.st_size) }
            var end = min(was.end, now.end)
            if was.isData || now.isData {
                end = offset + min(end - offset, off_t(TreeComparison.step))
                let count = Int(end - offset)
                // What is a hole reads as zeros.
                try read(from, at: offset, count, into: self.one)
                try read(to, at: offset, count, into: self.other)
                guard memcmp(self.one, self.other, count) == 0 else {
                    let first =
                        (0..<count).first {
                            self.one.load(fromByteOffset: $0, as: UInt8.self)
                                != self.other.load(fromByteOffset: $0, as: UInt8.self)
                        } ?? 0
                    return try tell("the content differs from byte \(offset + off_t(first)) on")
                }
                if was.isData != now.isData { filled += UInt64(count) }
            }
            // Sparse files may have more bytes together than a number holds.
            report.bytes = report.bytes.addingClamped(UInt64(end - offset))
            progress(report.bytes)
            offset = end
        }
        report.filledHoles += filled
        if filled > 0, !allowingFilledHoles {
            try tell("the holes differ: \(filled) bytes are in a hole on one side and zeros on the other")
        }
    }

    private struct Extent {
        var isData = false
        var end: off_t = 0
    }

    private func extent(at offset: off_t, of file: borrowing Descriptor, below size: off_t) throws -> Extent {
        let data = lseek(file.number, offset, linux_SEEK_DATA)
        guard data >= 0 || errno == ENXIO else { throw failure("cannot look for holes") }
        if data != offset { return Extent(isData: false, end: data < 0 ? size : min(data, size)) }
        let hole = lseek(file.number, offset, linux_SEEK_HOLE)
        guard hole > offset else { throw failure("cannot look for holes") }
        return Extent(isData: true, end: min(hole, size))
    }

    private func read(
        _ file: borrowing Descriptor, at offset: off_t, _ count: Int,
        into buffer: UnsafeMutableRawPointer
    ) throws {
        var filled = 0
        while filled < count {
            let number = file.number
            let fresh = retrying {
                pread(
                    number, buffer + filled, count - filled, offset + off_t(filled))
            }
            guard fresh >= 0 else { throw failure("cannot read") }
            guard fresh > 0 else {
                throw Failure(.io, "the file became shorter while it was read", at: shown)
            }
            filled += fresh
        }
    }
}
