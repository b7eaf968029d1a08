public import Plumbing

/// A blob that is in a store, whether or not a document names it. Written, it is a line that a script reads word by word:
///
/// ```
/// SHA256 SIZE AGE stored|held|trash
/// ```
public struct BlobEntry: Equatable, Sendable {
    public enum State: String, Sendable {
        case stored
        /// Stored, and kept for now by rules of the store's own, whoever wants it gone.
        case held
        case trash
    }

    public let address: Address
    /// The sealed length in bytes.
    public let size: UInt64
    /// The seconds since it was stored, or, in the trash, since it came there.
    public let age: Int64
    public let state: State

    public init(address: Address, size: UInt64, age: Int64, state: State) {
        self.address = address
        self.size = size
        self.age = age
        self.state = state
    }

    /// Nil for what is no such line.
    ///
    /// - Parameter line: without its newline.
    public init?(line: some StringProtocol) {
        let words = line.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 4, let address = try? Address(words[0]), let size = UInt64(words[1]),
            let age = Int64(words[2]), age >= 0, let state = State(rawValue: String(words[3]))
        else { return nil }
        self.init(address: address, size: size, age: age, state: state)
    }

    public var line: String { "\(address) \(size) \(age) \(state.rawValue)\n" }

    /// All of them as text, by their addresses, with a line at the end that says how many there are.
    public static func text(of entries: [BlobEntry]) -> String {
        let lines = entries.sorted { $0.address.hex < $1.address.hex }.map(\.line)
        return lines.joined() + "end \(lines.count)\n"
    }

    /// What `text` makes, read.
    ///
    /// - Throws: `badData` where it is another thing, or not all of it.
    public static func parse(_ text: [UInt8], at place: String) throws -> [BlobEntry] {
        var lines = text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        let isEnded = lines.popLast()?.isEmpty == true
        let end = lines.popLast().map { String(decoding: $0, as: UTF8.self) }
        let entries = lines.compactMap { BlobEntry(line: String(decoding: $0, as: UTF8.self)) }
        guard isEnded, entries.count == lines.count, end == "end \(lines.count)" else {
            throw Failure(
                .badData, "not a complete list of blobs", at: place, hint: "ep-fetch blobs prints one")
        }
        return entries
    }
}
