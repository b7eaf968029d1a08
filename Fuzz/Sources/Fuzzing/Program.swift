/// An input read as the choices of a test: from its front, byte by byte, zeros when it has ended.
public struct Program {
    private var bytes: ArraySlice<UInt8>

    public init(_ bytes: [UInt8]) { self.bytes = bytes[...] }

    public var isAtEnd: Bool { bytes.isEmpty }

    public mutating func byte() -> UInt8 { bytes.popFirst() ?? 0 }

    /// Little-endian.
    public mutating func number(bytes count: Int) -> UInt64 {
        (0..<count).reduce(0) { $0 | UInt64(byte()) << (8 * $1) }
    }

    /// 0 to `limit` - 1.
    public mutating func number(below limit: Int) -> Int {
        Int(number(bytes: 4) % UInt64(limit))
    }

    public mutating func take(_ count: Int) -> [UInt8] {
        defer { bytes = bytes.dropFirst(count) }
        return Array(bytes.prefix(count))
    }

    public mutating func rest() -> [UInt8] {
        defer { bytes = [] }
        return Array(bytes)
    }
}

extension [UInt8] {
    /// Calls with all of the bytes, in pieces whose lengths follow from the bytes themselves.
    public func inPieces(_ body: (UnsafeRawBufferPointer) throws -> Void) rethrows {
        var seed = reduce(UInt32(count)) { ($0 ^ UInt32($1)) &* 0x0100_0193 }
        var start = 0
        try withUnsafeBytes { bytes in
            while start < count {
                seed = seed &* 1_664_525 &+ 1_013_904_223
                let end = Swift.min(count, start + 1 + Int(seed >> 24) % (seed & 0x10000 == 0 ? 4 : 200))
                try body(.init(rebasing: bytes[start..<end]))
                start = end
            }
        }
    }

    /// The texts between the separators.
    public func parts(at separator: String) -> [[UInt8]] {
        let mark = Array(separator.utf8)
        var (parts, part): ([[UInt8]], [UInt8]) = ([], [])
        var index = 0
        while index < count {
            if self[index...].starts(with: mark) {
                parts.append(part)
                part = []
                index += mark.count
            } else {
                part.append(self[index])
                index += 1
            }
        }
        return parts + [part]
    }
}
