public import JSON

/// What a comparison of two subvolumes has counted.
public struct ComparisonReport: Equatable, Sendable {
    /// Names: of files, folders, links and all else.
    public var entries: UInt64 = 0
    /// Regular files, each counted once, however many names it has.
    public var files: UInt64 = 0
    /// What these files hold, holes included.
    public var bytes: UInt64 = 0
    /// Bytes that are a hole on one side and zeros on the other.
    public var filledHoles: UInt64 = 0
    public var differences: UInt64 = 0

    public var record: JSON {
        .object(
            [
                ("entries", entries), ("files", files), ("bytes", bytes), ("filledHoles", filledHoles),
                ("differences", differences),
            ].map { .init($0, .integer(Int64(clamping: $1))) })
    }
}
