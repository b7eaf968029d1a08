public import JSON
public import StoreFormat

/// A key as a store has it.
public struct StoredKey: Sendable {
    public let bytes: [UInt8]
    /// The SHA-256 that it was stored under; nil where a server does not say.
    public let address: Address?

    public init(bytes: [UInt8], address: Address?) {
        self.bytes = bytes
        self.address = address
    }
}

/// What a blob turned out to be when it was stored.
public struct Receipt: Equatable, Sendable {
    /// The sealed length in bytes.
    public let size: UInt64
    public let sha256: Address
    /// In lower-case hexadecimal.
    public let sha512: String

    public var json: JSON {
        [
            "size": .integer(Int64(clamping: size)), "sha256": .string(sha256.hex),
            "sha512": .string(sha512),
        ]
    }
}

/// One backup of a history: its blob, and its sealed metadata.
public struct Backup: Equatable, Sendable {
    public let blob: Address
    public let metadata: [UInt8]

    public init(blob: Address, metadata: [UInt8]) {
        self.blob = blob
        self.metadata = metadata
    }
}
