import CDecompression
import CLinux
import Glibc
import Plumbing
import SendStream

/// Data as btrfs compresses them, an extent of at most 128 KiB at once (linux/btrfs.h, BTRFS_ENCODED_IO_COMPRESSION_*).
enum Decompression {
    case zlib
    case zstd
    /// In pieces, none of whose lengths lies across the end of a sector.
    case lzo(sector: Int)

    static let longest = 128 << 10

    init?(_ number: UInt32) {
        switch number {
        case UInt32(BTRFS_ENCODED_IO_COMPRESSION_ZLIB): self = .zlib
        case UInt32(BTRFS_ENCODED_IO_COMPRESSION_ZSTD): self = .zstd
        case UInt32(BTRFS_ENCODED_IO_COMPRESSION_LZO_4K)...UInt32(BTRFS_ENCODED_IO_COMPRESSION_LZO_64K):
            self = .lzo(sector: 4096 << (number - UInt32(BTRFS_ENCODED_IO_COMPRESSION_LZO_4K)))
        default: return nil
        }
    }

    /// - Parameter room: is filled, with zeros behind what the data stand for.
    /// - Throws: `badData` for what is damaged, or stands for more than there is room for; `unavailable` where the library that
    ///   it takes is not there.
    func open(_ data: UnsafeRawBufferPointer, into room: UnsafeMutableRawBufferPointer, _ frame: Frame) throws
    {
        var filled = 0
        func take(
            _ bytes: UnsafeRawBufferPointer, limit: Int, library: String,
            _ call: (UnsafeRawPointer?, Int, UnsafeMutableRawPointer?, Int) -> Int
        ) throws {
            let count = call(
                bytes.baseAddress, bytes.count, room.baseAddress.map { $0 + filled },
                min(limit, room.count - filled))
            guard count != -2 else {
                throw Failure(
                    .unavailable,
                    "this file system does not take the data as they were compressed, and there is no \(library)",
                    hint: "install it: btrfs-progs has it, too")
            }
            guard count >= 0 else { throw damaged(frame) }
            filled += count
        }
        switch self {
        case .zlib: try take(data, limit: room.count, library: "libz.so.1", decompress_zlib)
        case .zstd: try take(data, limit: room.count, library: "libzstd.so.1", decompress_zstd)
        case .lzo(let sector):
            func length(at offset: Int) throws -> Int {
                guard offset + 4 <= data.count else { throw damaged(frame) }
                return Int(UInt32(littleEndian: data.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
            }
            let end = try length(at: 0)
            guard (4...data.count).contains(end) else { throw damaged(frame) }
            var offset = 4
            while offset < end {
                if sector - offset % sector < 4 { offset += sector - offset % sector }
                let count = try length(at: offset)
                offset += 4
                guard count <= end - offset else { throw damaged(frame) }
                try take(
                    .init(rebasing: data[offset..<(offset + count)]), limit: sector, library: "liblzo2.so.2",
                    decompress_lzo)
                offset += count
            }
        }
        room[filled...].initializeMemory(as: UInt8.self, repeating: 0)
    }

    private func damaged(_ frame: Frame) -> Failure { frame.refuse("damaged compressed data") }
}
