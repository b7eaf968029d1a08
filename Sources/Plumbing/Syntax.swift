extension Sequence<UInt8> {
    /// The bytes in lower-case hexadecimal.
    public var hex: String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }
}

extension String {
    /// Whether this is lower-case hexadecimal of `bytes` bytes.
    public func isHex(bytes: Int) -> Bool {
        utf8.count == 2 * bytes
            && utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }

    /// The bytes that this hexadecimal stands for; what is no digit counts as 0.
    public var hexBytes: [UInt8] {
        let digits = utf8.map { UInt8(Character(Unicode.Scalar($0)).hexDigitValue ?? 0) }
        return stride(from: 0, to: digits.count - 1, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }

    /// Whether this may name a system that is backed up: 1 to 253 characters of `a-z 0-9 . _ -`, the first one no dot,
    /// and so safe as the name of a directory.
    public var isDomain: Bool {
        (1...253).contains(utf8.count) && utf8.first != UInt8(ascii: ".")
            && utf8.allSatisfy {
                switch Unicode.Scalar($0) {
                case "a"..."z", "0"..."9", ".", "_", "-": true
                default: false
                }
            }
    }
}

extension UInt64 {
    /// The sum, or the greatest number where it is more.
    public func addingClamped(_ other: UInt64) -> UInt64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? .max : sum
    }
}

extension BinaryInteger {
    /// The digits of a number that is not negative, with zeros in front up to `count`.
    public func padded(to count: Int, radix: Int = 10) -> String {
        let digits = String(self, radix: radix)
        return String(repeating: "0", count: max(0, count - digits.utf8.count)) + digits
    }
}

/// `1 blob`, `2 blobs`.
public func count(_ number: Int64, _ thing: String) -> String {
    "\(number) \(thing)\(number == 1 ? "" : "s")"
}

/// A count of bytes for a person, in the unit that suits it, with one decimal from 1 KiB on.
public func readable(bytes: UInt64) -> String {
    guard bytes >= 1024 else { return "\(bytes) bytes" }
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB"]
    func tenths(_ index: Int) -> UInt64 {
        let unit = UInt64(1024) << (10 * index)
        let (whole, rest) = bytes.quotientAndRemainder(dividingBy: unit)
        return whole * 10 + (rest * 10 + unit / 2) / unit
    }
    var index = 0
    while index < units.count - 1, tenths(index) >= 10240 { index += 1 }
    return "\(tenths(index) / 10).\(tenths(index) % 10) \(units[index])"
}

extension Collection<UInt8> {
    /// A UUID's 16 bytes as text, in lower case: `8-4-4-4-12` digits.
    public var uuid: String {
        var text = ""
        for (index, byte) in enumerated() {
            if [4, 6, 8, 10].contains(index) { text += "-" }
            text += [byte].hex
        }
        return text
    }
}
