/// What an operator allows; `dunesea(8)` has the options.
public struct Limits: Sendable {
    /// Of a domain, unfinished uploads included; nil: what the disk holds.
    public var domainBytes: UInt64?
    /// Of one upload.
    public var uploadBytes: UInt64?
    /// Unfinished at once, in a domain.
    public var uploads = 8
    /// Seconds without a byte after which an unfinished upload is removed.
    public var uploadAge: Int64 = 24 * 3600
    public var connections = 64
    /// Connections of one address that have shown no valid token; see `Strangers`.
    public var strangers = 16
    public var pruning = PruningRules()
    /// Seconds in which a client has to move; see `SlowPeer`.
    public var patience: Int64 = 30

    public init() {}
}
