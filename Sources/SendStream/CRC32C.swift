import CChecksum

/// The checksum of a send stream's commands: CRC-32C, reflected, as the kernel's `crc32c(0, …)` has it:
/// it starts at zero, and the result is not inverted.
struct CRC32C {
    private(set) var value: UInt32 = 0

    mutating func update(_ bytes: UnsafeRawBufferPointer) {
        guard CRC32C.isBuiltIn else { return updateByTable(bytes) }
        value = checksum_crc32c(value, bytes.baseAddress, bytes.count)
    }

    /// For a processor without an instruction for it.
    mutating func updateByTable(_ bytes: UnsafeRawBufferPointer) {
        for byte in bytes {
            value = value >> 8 ^ CRC32C.table[Int(truncatingIfNeeded: value & 255) ^ Int(byte)]
        }
    }

    private static let isBuiltIn = checksum_is_built_in()

    private static let table: [UInt32] = (0..<256).map { index in
        (0..<8).reduce(UInt32(index)) { value, _ in
            value & 1 == 1 ? value >> 1 ^ 0x82f6_3b78 : value >> 1
        }
    }
}
