import DurableFiles
import Glibc
import Plumbing
import StoreFormat

/// When a backup came in, by this machine's clock, and what it builds on, as its client declared: a line of a domain's file
/// `received`, on stable storage before the document that it is of.
///
/// ```
/// NUMBER-SHA256 PARENT|none SECONDS
/// ```
struct Receipt {
    /// The name of the document.
    let name: String
    /// The blob of the backup that it builds on; nil for a full one.
    let parent: Address?
    /// In seconds since 1970.
    let received: Int64

    private static let file = "received"
    private static let none = "none"
    /// In bytes, of a line.
    private static let longest = 200

    init(of name: String, parent: Address?, received: Int64) {
        self.name = name
        self.parent = parent
        self.received = received
    }

    private init?(line: some StringProtocol) {
        let words = line.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 3, let received = Int64(words[2]), received >= 0 else { return nil }
        name = String(words[0])
        parent = try? Address(words[1])
        guard parent != nil || words[1] == Receipt.none else { return nil }
        self.received = received
    }

    private var line: String { "\(name) \(parent?.hex ?? Receipt.none) \(received)\n" }

    /// Adds it to the file. Blocks. The caller is alone with it.
    func keep(in folder: Folder) throws {
        let file = try folder.file(Receipt.file, O_RDWR | O_CREAT, mode: 0o600)
        // Whatever a crash or a full disk has left of a line goes.
        let length = try file.length()
        let start = length - min(length, UInt64(Receipt.longest))
        let tail = try file.read(at: start, count: Int(length - start))
        let end = tail.lastIndex(of: UInt8(ascii: "\n")).map { start + UInt64($0) + 1 } ?? start
        try Array(line.utf8).withUnsafeBytes { try file.write($0, at: end) }
        guard ftruncate(file.number, off_t(clamping: end) + off_t(line.utf8.count)) == 0 else {
            throw Failure.system("cannot truncate", at: file.name)
        }
        try file.sync()
        try folder.sync()
    }

    /// All of a domain's, by the names of their documents; of two that are of one, the second: the first was not committed.
    /// Blocks.
    ///
    /// - Throws: `badData` where a line is none.
    static func all(in folder: Folder) throws -> [String: Receipt] {
        guard try folder.length(ofFile: file) != nil else { return [:] }
        var receipts: [String: Receipt] = [:]
        let bytes = try folder.read(file, limit: longest * StoreLimits.history)
        for line in bytes.split(separator: UInt8(ascii: "\n")) {
            guard let receipt = Receipt(line: String(decoding: line, as: UTF8.self)) else {
                // The end of one that was never committed.
                if line.endIndex == bytes.endIndex { break }
                throw Failure(.badData, "not a record of when a backup came in", at: folder.path(of: file))
            }
            receipts[receipt.name] = receipt
        }
        return receipts
    }
}
