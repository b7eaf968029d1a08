public import Plumbing

/// Sealed metadata documents one behind the other, as a store gives a history: `escapepod-stream(5)`, series.
///
/// ```
/// "EPODITEM" | u64 length | address (32) | a sealed document of that length
/// "EPODMISS" | u64 status | address (32)   a document that the store has and cannot give
/// "EPODPRUN" | u64 length | address (32) | a sealed record of a pruning of that length
/// "EPODENDS" | u64 count  | zeros (32)     the end
/// ```
///
/// all big-endian. Every item starts with `headLength` bytes; a series without its end is cut.
public enum Series {
    public static let headLength = 48
    public static let addressLength = 32
    /// What stands for a record of a pruning that cannot be read, or is too short to be one: it does not open.
    public static let unopenable = [UInt8](repeating: 0, count: Envelope.minimumLength)

    /// The start of an item.
    public enum Head: Equatable, Sendable {
        /// A sealed document of `length` bytes follows, the metadata of the blob at `address`.
        case document(address: [UInt8], length: Int)
        /// There is a document, which is damaged (`badData`) or cannot be read (`io`).
        case missing(address: [UInt8], status: ExitStatus)
        /// A sealed record of a pruning of `length` bytes follows, whose SHA-256 is `address`.
        case pruning(address: [UInt8], length: Int)
        /// Nothing follows. `count` items went before.
        case end(count: UInt64)
    }

    private static let item = Array("EPODITEM".utf8)
    private static let miss = Array("EPODMISS".utf8)
    private static let prun = Array("EPODPRUN".utf8)
    private static let ends = Array("EPODENDS".utf8)
    /// As many bytes tell a series from a sealed stream.
    public static let magicLength = 8

    /// Whether a stream that starts with these bytes is a series.
    public static func recognises(_ bytes: [UInt8]) -> Bool {
        [item, miss, prun, ends].contains { bytes.starts(with: $0) }
    }

    public static func bytes(of head: Head) -> [UInt8] {
        func number(_ value: UInt64) -> [UInt8] {
            (0..<8).map { UInt8(truncatingIfNeeded: value >> (56 - 8 * $0)) }
        }
        switch head {
        case .document(let address, let length): return item + number(UInt64(length)) + address
        case .pruning(let address, let length): return prun + number(UInt64(length)) + address
        case .missing(let address, let status): return miss + number(UInt64(status.rawValue)) + address
        case .end(let count): return ends + number(count) + [UInt8](repeating: 0, count: addressLength)
        }
    }

    /// - Parameter bytes: `headLength` bytes.
    /// - Throws: `badData` for what is no start of an item.
    private static func head(parsing bytes: [UInt8], at place: String) throws -> Head {
        let number = bytes[8..<16].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        let address = Array(bytes[16...])
        let isPruning = bytes.starts(with: prun)
        if isPruning || bytes.starts(with: item) {
            guard let length = Int(exactly: number),
                (Envelope.minimumLength...Envelope.maximumSealedDocumentLength).contains(length)
            else {
                throw Failure(
                    .badData, "invalid length of a document in a series: \(number) bytes", at: place)
            }
            return isPruning
                ? .pruning(address: address, length: length) : .document(address: address, length: length)
        }
        if bytes.starts(with: miss) {
            let status = Int32(exactly: number).flatMap(ExitStatus.init)
            guard let status, [.badData, .io].contains(status) else {
                throw Failure(.badData, "invalid status of a document in a series: \(number)", at: place)
            }
            return .missing(address: address, status: status)
        }
        if bytes.starts(with: ends), address.allSatisfy({ $0 == 0 }) { return .end(count: number) }
        throw Failure(.badData, "not a series of metadata documents", at: place)
    }

    /// Takes a series apart that comes in pieces. Memory is one document.
    public struct Reader {
        /// Whether the end has come.
        public private(set) var isWhole = false
        private let place: String
        private var rest: [UInt8] = []
        private var count: UInt64 = 0

        public init(at place: String) { self.place = place }

        /// Nothing more comes.
        ///
        /// - Throws: `badData` where the end has not come.
        public func finish() throws {
            guard isWhole else {
                throw Failure(
                    .badData, "the series is truncated", at: place,
                    hint: "the previous stage may have failed; see its message")
            }
        }

        /// Adds the next bytes, and calls with each item that is whole by then, and the document that belongs to it.
        ///
        /// - Throws: `badData` for what is no series, or goes on behind its end; what `visit` throws.
        public mutating func add(
            _ bytes: UnsafeRawBufferPointer, _ visit: (Head, _ document: [UInt8]) throws -> Void
        ) throws {
            rest.append(contentsOf: bytes)
            var start = 0
            defer { rest.removeFirst(start) }
            while rest.count > start {
                guard !isWhole else {
                    throw Failure(.badData, "extra data after the end of the series", at: place)
                }
                guard rest.count - start >= headLength else { return }
                let behind = start + headLength
                let head = try Series.head(parsing: Array(rest[start..<behind]), at: place)
                switch head {
                case .document(_, let length), .pruning(_, let length):
                    guard rest.count - behind >= length else { return }
                    start = behind + length
                    count += 1
                    try visit(head, Array(rest[behind..<start]))
                case .missing:
                    start = behind
                    count += 1
                    try visit(head, [])
                case .end(let said):
                    guard said == count else {
                        throw Failure(
                            .badData, "the series states \(said) documents, but has \(count)", at: place)
                    }
                    start = behind
                    isWhole = true
                }
            }
        }
    }
}
