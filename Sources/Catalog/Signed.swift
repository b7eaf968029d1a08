public import JSON
import Plumbing

/// A record on one line whose last member, `mac`, proves that a holder of the key wrote it: escapepod(1), FILES.
public enum Signed {
    private static let front = Array(",\"mac\":\"".utf8)
    private static let back = Array("\"}".utf8)
    private static let macLength = 64

    /// The line of a record, with its newline.
    ///
    /// - Parameter mac: makes the MAC of the record's line without it, in lower-case hex.
    public static func line(_ record: JSON, mac: ([UInt8]) throws -> String) rethrows -> [UInt8] {
        let text = Array("\(record)".utf8)
        return try text.dropLast() + front + Array(mac(text).utf8) + back + [UInt8(ascii: "\n")]
    }

    /// Reads such a line.
    ///
    /// - Parameter accepts: whether the MAC is that of the text.
    /// - Returns: the record, including its MAC; nil if it was not written by a holder of the key.
    public static func record(
        _ line: [UInt8], accepts: (_ mac: String, _ text: [UInt8]) throws -> Bool
    ) rethrows -> JSON? {
        let line = line.last == UInt8(ascii: "\n") ? line.dropLast() : line[...]
        let tail = line.suffix(front.count + macLength + back.count)
        let mac = String(decoding: tail.dropFirst(front.count).dropLast(back.count), as: UTF8.self)
        guard tail.starts(with: front), tail.suffix(back.count).elementsEqual(back), mac.isHex(bytes: 32),
            try accepts(mac, line.dropLast(tail.count) + [UInt8(ascii: "}")])
        else { return nil }
        return try? JSON(parsing: Array(line), at: "record")
    }
}
