/// What a Range header asks for (RFC 9110, 14.2). More than one range, or another unit, gets the whole.
enum ByteRange: Equatable {
    case whole
    case part(Range<UInt64>)
    case unsatisfiable

    static func parse(_ text: String, size: UInt64) -> ByteRange {
        let unit = "bytes="
        guard text.hasPrefix(unit) else { return .whole }
        let ends = text.dropFirst(unit.count).split(separator: "-", omittingEmptySubsequences: false)
        guard ends.count == 2, let first = end(ends[0]), let last = end(ends[1]) else { return .whole }
        switch (first, last) {
        case (nil, nil): return .whole
        case (nil, let suffix?):
            guard suffix > 0, size > 0 else { return .unsatisfiable }
            return .part(size - min(suffix, size)..<size)
        case (let start?, let last):
            if let last, last < start { return .whole }
            guard start < size else { return .unsatisfiable }
            return .part(start..<(last.map { min($0, size - 1) + 1 } ?? size))
        }
    }

    /// Nil for what is no number; `.some(nil)` for an open end.
    private static func end(_ text: Substring) -> UInt64?? {
        text.isEmpty ? .some(nil) : number(String(text)).map(Optional.some)
    }
}
