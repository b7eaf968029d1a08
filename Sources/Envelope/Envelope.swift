import Plumbing

/// What can be told of a sealed stream without its key: `escapepod-stream(5)`, format 1.
///
/// ```
/// header (64) | salt (24) | commitment (32) | chunks of 16384 + 16, the last shorter | trailer (16)
/// ```
public enum Envelope {
    public static let headerLength = 64
    public static let saltLength = 24
    public static let commitmentLength = 32
    public static let chunkLength = 16384
    public static let tagLength = 16
    public static let trailerLength = 16

    /// Header, salt and commitment: where the first chunk starts.
    public static let prefixLength = headerLength + saltLength + commitmentLength
    /// The shortest stream: the seal of nothing.
    public static let minimumLength = prefixLength + tagLength + trailerLength

    /// The length in bytes of the sealed stream of `plaintext` bytes.
    public static func sealedLength(of plaintext: UInt64) -> UInt64 {
        let chunks = plaintext / UInt64(chunkLength) + 1
        return UInt64(prefixLength + trailerLength) + plaintext + chunks * UInt64(tagLength)
    }

    /// The longest stream: 2^38 chunks are 4 PiB, where C2SP's specification stops. Sums of a thousand such lengths stay
    /// below 2^63.
    public static let maximumLength = sealedLength(of: maximumChunks * UInt64(chunkLength) - 1)
    public static let maximumChunks: UInt64 = 1 << 38

    /// The most bytes of a metadata document, its final newline not counted.
    public static let maximumDocumentLength = 1 << 20
    /// The most bytes of a sealed metadata document, whose plaintext has the newline.
    public static let maximumSealedDocumentLength = Int(sealedLength(of: UInt64(maximumDocumentLength) + 1))

    private static let trailerMagic = Array("EPODDONE".utf8)

    /// The trailer of a stream of `length` bytes, the trailer included.
    public static func trailer(length: UInt64) -> [UInt8] {
        trailerMagic + (0..<8).map { UInt8(truncatingIfNeeded: length >> (56 - 8 * $0)) }
    }

    /// Checks that a stream of `length` bytes ends in its trailer.
    ///
    /// - Parameter tail: the last `trailerLength` bytes.
    /// - Throws: `badData`: the stream is cut, goes on behind its trailer, or is shorter than any.
    public static func check(tail: [UInt8], length: UInt64, at place: String) throws {
        guard tail.starts(with: trailerMagic) else {
            throw Failure(
                .badData,
                "the sealed stream does not end with its trailer: truncated, or followed by extra bytes",
                at: "\(place), byte \(length)",
                hint: "the previous stage may have failed; see its message")
        }
        let said = tail[trailerMagic.count...].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard said == length else {
            throw Failure(
                .badData, "the trailer states \(said) bytes, but the sealed stream has \(length)", at: place)
        }
        guard length >= UInt64(minimumLength) else {
            throw Failure(.badData, "too short for a sealed stream: \(length) bytes", at: place)
        }
        guard length <= maximumLength else {
            throw Failure(.badData, "too long for a sealed stream: \(length) bytes", at: place)
        }
    }

    /// What the bytes inside are; each kind is sealed under a key of its own.
    public enum Kind: String, CaseIterable, Sendable {
        case blob
        case metadata
        /// A backup's key, sealed under a passphrase.
        case key
        /// A record of blobs that were taken away, or brought back.
        case pruning

        fileprivate var code: UInt8 {
            switch self {
            case .blob: 1
            case .metadata: 2
            case .key: 3
            case .pruning: 4
            }
        }
    }

    /// What was done to the plaintext before it was sealed; only a blob's is ever compressed.
    public enum Compression: UInt8, Sendable {
        case none = 0
        /// Frames of zstd (RFC 8878), one behind the other.
        case zstd = 1
    }

    /// The 64 bytes in front, which also are the context of the key derivation.
    public struct Header: Equatable, Sendable {
        public static let keyIDLength = 16
        public static let parametersLength = 32
        private static let magic = Array("EPODSEAL".utf8)

        public let kind: Kind
        /// Which key the stream is sealed with, or, in one of kind key, which key is inside; 16 bytes.
        public let keyID: [UInt8]
        /// How a passphrase becomes a key, in a stream of kind key; else zero. 32 bytes.
        public let parameters: [UInt8]
        public let compression: Compression

        public init(
            kind: Kind, keyID: [UInt8], compression: Compression = .none,
            parameters: [UInt8] = .init(repeating: 0, count: Header.parametersLength)
        ) {
            precondition(compression == .none || kind == .blob)
            precondition(keyID.count == Header.keyIDLength && parameters.count == Header.parametersLength)
            self.kind = kind
            self.keyID = keyID
            self.compression = compression
            self.parameters = parameters
        }

        /// Version 1, suite 1: the only ones there are.
        public var bytes: [UInt8] {
            Header.magic + [1, 1, kind.code, compression.rawValue] + [UInt8](repeating: 0, count: 4) + keyID
                + parameters
        }

        /// - Parameter bytes: the first `headerLength` bytes of a stream, or all of a shorter one.
        /// - Throws: `badData`, which says what is unknown.
        public init(parsing bytes: [UInt8], at place: String) throws {
            func refuse(_ what: String, hint: String? = nil) -> Failure {
                Failure(.badData, what, at: place, hint: hint)
            }
            guard !bytes.isEmpty else {
                throw refuse(
                    "empty input", hint: "the previous stage may have failed; see its message")
            }
            guard bytes.starts(with: Header.magic.prefix(bytes.count)) else {
                throw refuse("not a sealed stream", hint: "seal it with ep-seal first")
            }
            guard bytes.count >= Envelope.headerLength else {
                throw refuse("the sealed stream is truncated in its header, at byte \(bytes.count)")
            }
            let newer = "a newer escapepod may have written it"
            guard bytes[8] == 1 else { throw refuse("unknown format version \(bytes[8])", hint: newer) }
            guard bytes[9] == 1 else { throw refuse("unknown suite \(bytes[9])", hint: newer) }
            guard let kind = Kind.allCases.first(where: { $0.code == bytes[10] }) else {
                throw refuse("unknown kind \(bytes[10])", hint: newer)
            }
            guard let compression = Compression(rawValue: bytes[11]), compression == .none || kind == .blob
            else { throw refuse("unknown compression \(bytes[11])", hint: newer) }
            let reserved = Array(12..<16) + (kind == .key ? [] : Array(32..<64))
            for index in reserved where bytes[index] != 0 {
                throw refuse("reserved byte \(index) of the header is \(bytes[index]), not zero", hint: newer)
            }
            self.init(
                kind: kind, keyID: Array(bytes[16..<32]), compression: compression,
                parameters: Array(bytes[32..<64]))
        }

        /// - Throws: `badData` where the stream is of another kind.
        public func require(_ expected: Kind, at place: String) throws {
            guard kind == expected else {
                throw Failure(.badData, "a sealed stream of kind \(kind), not \(expected)", at: place)
            }
        }
    }
}
