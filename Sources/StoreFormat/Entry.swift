import Plumbing

extension History {
    /// A file that a store counts: a document, by its blob's address, or a key, by its own.
    public struct Entry: Equatable, Sendable {
        /// Ten digits at most; the greatest is the newest.
        public let number: UInt64
        public let address: Address

        private static let digits = 10

        /// `NUMBER-SHA256`, the number with zeros in front.
        public var name: String { "\(number.padded(to: Entry.digits))-\(address)" }

        /// Nil for any other name: it is somebody else's file.
        public init?(name: String) {
            let parts = name.split(separator: "-", omittingEmptySubsequences: false)
            guard parts.count == 2, parts[0].utf8.count == Entry.digits,
                parts[0].utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = UInt64(parts[0]),
                let address = try? Address(parts[1])
            else { return nil }
            self.number = number
            self.address = address
        }

        /// The one behind `last`, or the first.
        ///
        /// - Throws: `badData` where the numbers are used up.
        public init(_ address: Address, after last: Entry?, at place: String) throws {
            let number = (last?.number ?? 0) + 1
            guard number <= StoreLimits.number else {
                throw Failure(
                    .badData, "the history is full: its numbers are used up", at: place,
                    hint: "start another one, under another domain")
            }
            self.number = number
            self.address = address
        }
    }
}
