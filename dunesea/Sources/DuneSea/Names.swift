import Plumbing

/// The name of a system that is backed up: 1 to 253 of `a-z 0-9 . _ -`, not starting with a dot; so it is a safe file name.
public struct Domain: Hashable, Sendable, CustomStringConvertible {
    public let description: String

    public init?(_ text: some StringProtocol) {
        let text = String(text)
        guard text.isDomain else { return nil }
        self.description = text
    }
}

/// The address of a blob or a key: the SHA-256 of its sealed bytes, 64 digits of lower-case hex.
public struct Address: Hashable, Sendable, CustomStringConvertible {
    public let description: String

    public init?(_ text: some StringProtocol) {
        let text = String(text)
        guard text.isHex(bytes: 32) else { return nil }
        self.description = text
    }
}

/// Random bytes from the kernel, in lower-case hex.
func randomHex(bytes: Int) -> String {
    var generator = SystemRandomNumberGenerator()
    return (0..<bytes).map { _ in UInt8.random(in: .min ... .max, using: &generator) }.hex
}
