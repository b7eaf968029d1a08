import Envelope
import OpenSSL
import Plumbing

/// The one secret of a backup: 32 random bytes, from which each stream's key is derived.
public final class Key: Sendable {
    public static let length = 32
    private static let prefix = "epod-key-"

    private let secret: Secret

    init(_ secret: Secret) {
        precondition(secret.count == Key.length)
        self.secret = secret
    }

    public static func generate() throws -> Key {
        Key(try .random(count: length))
    }

    func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try secret.withBytes(body)
    }

    /// The bytes by which a stream names the key that it is sealed with; they tell nothing of the key itself.
    public func id() throws -> [UInt8] {
        try secret.expand(info: Array("escapepod/v1/key-id".utf8), count: Envelope.Header.keyIDLength)
            .withBytes { Array($0) }
    }

    /// What only a holder of the key can have made of these bytes: HMAC-SHA-256 under a key of its own.
    public func mac(of bytes: [UInt8]) throws -> [UInt8] {
        try secret.expand(info: Array("escapepod/v1/receipt".utf8), count: 32).hmac(of: bytes)
    }

    /// Whether that is the MAC of these bytes, in a time that depends on the lengths alone.
    public func accepts(mac: [UInt8], of bytes: [UInt8]) throws -> Bool {
        let right = try self.mac(of: bytes)
        return right.withUnsafeBytes { right in mac.withUnsafeBytes { equalInConstantTime(right, $0) } }
    }

    /// The pseudorandom key of all streams of a kind, blob or metadata: what seals a key is no key but a passphrase.
    func inputKey(of kind: Envelope.Kind) throws -> Secret {
        precondition(kind != .key)
        return try secret.expand(info: Array("escapepod/v1/seal/\(kind)".utf8), count: Key.length)
    }
}

// MARK: - As text

extension Key {
    /// The one line that is the key, as a person can type it: Bech32, upper case, 68 characters.
    public var text: String {
        secret.withBytes { Bech32.encode($0, prefix: Key.prefix) }
    }

    /// Reads the text of a key file: lines that start with `#`, empty lines, and one line with the key.
    ///
    /// - Throws: `badData`, without a word of what the text holds.
    public convenience init(parsing text: String, at place: String) throws {
        let lines = text.split(whereSeparator: \.isNewline)
            .map { $0.filter { !$0.isWhitespace } }
            .filter { !$0.isEmpty && !$0.hasPrefix("#") }
        func refuse(_ what: String, _ hint: String) -> Failure {
            Failure(.badData, what, at: place, hint: hint)
        }
        guard let line = lines.first else {
            throw refuse("the key file contains no key", "use another copy of it")
        }
        guard lines.count == 1, line.lowercased().hasPrefix(Key.prefix) else {
            throw refuse(
                "not a key file", "a key file has one line that starts with \(Key.prefix.uppercased())1")
        }
        guard var bytes = Bech32.decode(line, prefix: Key.prefix), bytes.count == Key.length else {
            throw refuse(
                "the key is damaged", "a character is wrong, missing or extra; compare it with another copy")
        }
        defer { bytes.withUnsafeMutableBytes { wipe($0) } }
        self.init(Secret(bytes))
    }
}
