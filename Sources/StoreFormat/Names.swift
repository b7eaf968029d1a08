import JSON
import Plumbing

/// The name of the system that is backed up; safe as a name of a directory.
public struct Domain: Hashable, Sendable, CustomStringConvertible {
    public let description: String

    /// - Throws: `usage` for anything but 1 to 253 characters of `a-z 0-9 . _ -`, not starting with a dot.
    public init(_ name: some StringProtocol) throws {
        let name = String(name)
        guard name.isDomain else {
            throw Failure(
                .usage, "not a valid domain", at: JSON.string(name).description,
                hint: "1 to 253 characters of a-z 0-9 . _ -, not starting with a dot")
        }
        description = name
    }
}

/// The address of a blob or of a key: the SHA-256 of its sealed bytes.
public struct Address: Hashable, Sendable, CustomStringConvertible {
    /// 64 digits of lower-case hexadecimal.
    public let hex: String

    public var description: String { hex }

    /// The digest itself, 32 bytes.
    public var bytes: [UInt8] { hex.hexBytes }

    /// - Throws: `usage` for anything else.
    public init(_ hex: some StringProtocol) throws {
        let hex = String(hex)
        guard hex.isHex(bytes: 32) else {
            throw Failure(
                .usage, "not an address of a blob", at: JSON.string(hex).description,
                hint: "an address is a SHA-256: 64 lower-case hexadecimal digits")
        }
        self.hex = hex
    }
}
