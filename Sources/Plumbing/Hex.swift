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
