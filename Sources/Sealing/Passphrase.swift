import OpenSSL
public import Plumbing

/// What a person knows and a key can be sealed under. It is overwritten in memory when the value ends.
public struct Passphrase: Sendable {
    /// The most that is taken from a file, a command or a terminal, in bytes.
    public static let maximumLength = 4096
    private static let wordCount = 10

    let secret: Secret

    /// Takes what was typed. White space, which a person types in more than one way, counts as one space between words
    /// and as nothing at the ends; all else is taken as it is, in UTF-8.
    ///
    /// - Parameters:
    ///   - asTyped: white space counts, too, but for a line end, as for a program that takes it as it is typed.
    ///   - fill: puts at most `maximumLength` bytes into the memory that it gets, and returns their count.
    /// - Throws: what `fill` throws; `badData` where there is nothing else than white space.
    public init(
        from place: String, asTyped: Bool = false, _ fill: (UnsafeMutableRawBufferPointer) throws -> Int
    ) throws {
        secret = try Secret(upTo: Passphrase.maximumLength) { bytes in
            let count = try fill(bytes)
            guard asTyped else { return Passphrase.normalise(bytes, count: count) }
            return count - (count > 0 && bytes[count - 1] == UInt8(ascii: "\n") ? 1 : 0)
        }
        guard secret.count > 0 else { throw Failure(.badData, "the passphrase is empty", at: place) }
    }

    /// Reads one to the end of its input.
    ///
    /// - Parameters:
    ///   - asTyped: see above.
    ///   - confirm: called at the end of the input, before it is taken.
    public init(reading input: borrowing Descriptor, asTyped: Bool = false, confirm: () throws -> Void) throws
    {
        try self.init(from: input.name, asTyped: asTyped) { bytes in
            let count = try input.readFully(into: bytes)
            guard count < bytes.count else {
                throw Failure(
                    .badData, "too long for a passphrase: \(bytes.count) bytes or more", at: input.name)
            }
            try confirm()
            return count
        }
    }

    /// Reads the one in a file.
    ///
    /// - Parameters:
    ///   - asTyped: see above.
    ///   - warn: called with what a person should know: the mode lets others read it.
    public init(file path: String, asTyped: Bool = false, warn: (String) -> Void) throws {
        try self.init(
            reading: KeyFile.open(path, as: "passphrase file", warn: warn), asTyped: asTyped, confirm: {})
    }

    /// Ten words drawn from a list of 2048: 110 bits.
    public static func generate() throws -> Passphrase {
        let random = try Secret.random(count: 2 * wordCount)
        return try Passphrase(from: "generator") { bytes in
            var count = 0
            random.withBytes { random in
                for number in 0..<wordCount {
                    let index =
                        (Int(random[2 * number]) << 8 | Int(random[2 * number + 1])) % passphraseWords.count
                    for letter in passphraseWords[index].utf8 + [0x20] {
                        bytes[count] = letter
                        count += 1
                    }
                }
            }
            return count
        }
    }

    /// The bytes, valid inside `body` alone.
    public func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try secret.withBytes(body)
    }

    /// Returns the count of bytes that are left.
    private static func normalise(_ bytes: UnsafeMutableRawBufferPointer, count: Int) -> Int {
        var kept = 0
        var betweenWords = false
        for byte in bytes[..<count] {
            // Space, and from tab to carriage return.
            if byte == 0x20 || (0x09...0x0d).contains(byte) {
                betweenWords = kept > 0
                continue
            }
            if betweenWords {
                bytes[kept] = 0x20
                kept += 1
                betweenWords = false
            }
            bytes[kept] = byte
            kept += 1
        }
        return kept
    }
}

extension Passphrase: Equatable {
    public static func == (one: Passphrase, other: Passphrase) -> Bool {
        one.withBytes { one in other.withBytes { equalInConstantTime(one, $0) } }
    }
}
