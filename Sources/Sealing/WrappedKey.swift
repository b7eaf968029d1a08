import Envelope
import OpenSSL
import Plumbing

/// A key sealed under a passphrase: the sealed stream of kind key, as a store keeps it; `escapepod-stream(5)`.
public struct WrappedKey: Sendable {
    /// In bytes.
    public static let length = Int(Envelope.sealedLength(of: UInt64(Key.length)))
    private static let prefixLength = Envelope.headerLength + Envelope.saltLength
    private static let checksumRange = 40..<48
    private static let trailer = Envelope.trailer(length: UInt64(length))

    private let bytes: [UInt8]
    private let header: Envelope.Header
    private let stretching: Stretching
    private let place: String

    /// The id of the key inside, as the header has it; only `unwrap` shows that it is true. 16 bytes.
    public var keyID: [UInt8] { header.keyID }

    /// How many times longer it takes to try a passphrase than with what `wrap` makes, rounded down.
    public var cost: UInt64 { stretching.work >> 21 }

    /// Seals a key under a passphrase, which takes 256 MiB of memory and about a second.
    public static func wrap(_ key: Key, under passphrase: Passphrase) throws -> [UInt8] {
        try wrap(
            key, under: passphrase,
            Stretching(logN: 18, r: 8, p: 1, salt: randomBytes(count: Stretching.saltLength)),
            salt: randomBytes(count: Envelope.saltLength))
    }

    static func wrap(
        _ key: Key, under passphrase: Passphrase, _ stretching: Stretching, salt: [UInt8]
    ) throws -> [UInt8] {
        var prefix =
            Envelope.Header(kind: .key, keyID: try key.id(), parameters: stretching.parameters).bytes + salt
        prefix.replaceSubrange(checksumRange, with: try checksum(of: prefix))
        let header = try Envelope.Header(
            parsing: Array(prefix[..<Envelope.headerLength]), at: "new wrapped key")
        var chunks = try Chunks(
            .seal, inputKey: stretching.inputKey(of: passphrase), header: header, salt: salt)
        var chunk = [UInt8](repeating: 0, count: Key.length + Envelope.tagLength)
        try key.withBytes { key in
            try chunk.withUnsafeMutableBytes { try chunks.seal(key, into: $0) }
        }
        return prefix + chunks.commitment + chunk + trailer
    }

    /// Checks all that can be checked without the passphrase, which takes neither time nor memory.
    ///
    /// - Throws: `badData`: no sealed key, damaged, or one that asks for more than a reader allows.
    public init(parsing bytes: [UInt8], at place: String) throws {
        header = try Envelope.Header(parsing: Array(bytes.prefix(Envelope.headerLength)), at: place)
        try header.require(.key, at: place)
        guard bytes.count == WrappedKey.length,
            bytes.suffix(Envelope.trailerLength) == WrappedKey.trailer[...]
        else {
            throw WrappedKey.damaged("truncated, or followed by extra bytes", at: place)
        }
        let checksum = try WrappedKey.checksum(of: Array(bytes[..<WrappedKey.prefixLength]))
        guard bytes[WrappedKey.checksumRange] == checksum[...] else {
            throw WrappedKey.damaged("its checksum is wrong", at: place)
        }
        stretching = try Stretching(parsing: header.parameters, at: place)
        self.bytes = bytes
        self.place = place
    }

    /// Opens it, which takes as much memory as its header says, 1 GiB at most, and eight
    /// times the usual second at most.
    ///
    /// - Throws: `badData`: wrong passphrase, damaged, or another key inside than the header says.
    public func unwrap(with passphrase: Passphrase) throws -> Key {
        var chunks = try Chunks(
            .open, inputKey: stretching.inputKey(of: passphrase), header: header,
            salt: Array(bytes[Envelope.headerLength..<WrappedKey.prefixLength]))
        let isCommitted = chunks.isCommitted(to: bytes[WrappedKey.prefixLength..<Envelope.prefixLength])
        var isOpen = false
        let secret = try Secret(upTo: Key.length) { plain in
            try bytes.withUnsafeBytes { bytes in
                let chunk = bytes[Envelope.prefixLength..<(bytes.count - Envelope.trailerLength)]
                isOpen = try chunks.tryToOpen(.init(rebasing: chunk), into: plain)
            }
            return Key.length
        }
        // Damage has hit one of the two; with the wrong passphrase neither is right.
        guard isCommitted || isOpen else {
            throw Failure(
                .badData, "wrong passphrase", at: place,
                hint:
                    "check for a misspelt, missing or misplaced word; upper and lower case matter"
            )
        }
        guard isCommitted && isOpen else {
            throw WrappedKey.damaged(
                isOpen ? "its commitment is wrong" : "the key in it fails authentication", at: place)
        }
        let key = Key(secret)
        let id = try key.id()
        guard id == keyID else {
            throw Failure(
                .badData, "it contains another key: its id is \(id.hex), not \(keyID.hex)", at: place)
        }
        return key
    }

    /// - Parameter id: in lower-case hexadecimal.
    /// - Throws: `badData` where this is another key's.
    public func require(id: String) throws {
        guard keyID.hex == id else {
            throw Failure(.badData, "another key: its id is \(keyID.hex), not \(id)", at: place)
        }
    }

    private static func damaged(_ how: String, at place: String) -> Failure {
        Failure(.badData, "the wrapped key is damaged: \(how)", at: place, hint: "use another copy of it")
    }

    /// The checksum that finds damage without the passphrase: of header and salt, but not of itself.
    private static func checksum(of prefix: [UInt8]) throws -> [UInt8] {
        let rest = prefix[..<checksumRange.lowerBound] + prefix[checksumRange.upperBound...]
        return Array(try Digest.bytes(.sha256, of: Array(rest)).prefix(checksumRange.count))
    }
}

/// How a passphrase becomes the input key of a wrapped key: scrypt and what it costs, in the header's parameters.
struct Stretching {
    private static let zeroRange = 3..<8
    private static let saltRange = 16..<32
    static let saltLength = saltRange.count
    /// 128 × N × r
    private static let maximumMemory: UInt64 = 1 << 30
    /// N × r × p
    private static let maximumWork: UInt64 = 1 << 24

    let logN: UInt8
    let r: UInt8
    let p: UInt8
    let salt: [UInt8]

    init(logN: UInt8, r: UInt8, p: UInt8, salt: [UInt8]) {
        precondition(salt.count == Stretching.saltLength)
        (self.logN, self.r, self.p, self.salt) = (logN, r, p, salt)
    }

    /// - Parameter parameters: 32 bytes that whoever keeps the wrapped key may have made up.
    /// - Throws: `badData` before any memory is taken.
    init(parsing parameters: [UInt8], at place: String) throws {
        (logN, r, p) = (parameters[0], parameters[1], parameters[2])
        salt = Array(parameters[Stretching.saltRange])
        for index in Stretching.zeroRange where parameters[index] != 0 {
            let offset = Envelope.headerLength - parameters.count + index
            throw Failure(
                .badData, "reserved byte \(offset) of the header is \(parameters[index]), not zero",
                at: place,
                hint: "a newer escapepod may have written it")
        }
        // RFC 7914 wants N below 2^(16 r), which is more than 2^20 for every r but 1.
        guard (10...20).contains(logN), (1...32).contains(r), (1...16).contains(p), logN < 16 * Int(r),
            128 * UInt64(r) << UInt64(logN) <= Stretching.maximumMemory, work <= Stretching.maximumWork
        else {
            throw Failure(
                .badData, "scrypt parameters out of range: N = 2^\(logN), r = \(r), p = \(p)", at: place,
                hint: "whoever stores the wrapped key may have changed it; use another copy")
        }
    }

    /// N × r × p, which the time goes by.
    var work: UInt64 { UInt64(r) * UInt64(p) << UInt64(logN) }

    /// The 32 bytes of the header, with zeros in place of the checksum.
    var parameters: [UInt8] {
        [logN, r, p] + [UInt8](repeating: 0, count: Stretching.saltRange.lowerBound - 3) + salt
    }

    func inputKey(of passphrase: Passphrase) throws -> Secret {
        try passphrase.secret.scrypt(
            salt: salt, n: 1 << UInt64(logN), r: UInt64(r), p: UInt64(p), count: Key.length)
    }
}
