/// Foreign bytes, as a terminal may show them: what could steer it, or hide from the eye, is written as `\x…` byte by byte,
/// and so is everything that is not printable ASCII in bytes that are no UTF-8.
///
/// Every message of a `Failure` goes through it; what prints a foreign name elsewhere calls it.
public func printable(_ bytes: some Collection<UInt8>) -> String {
    func escaped(_ bytes: some Sequence<UInt8>) -> String { bytes.map { "\\x" + [$0].hex }.joined() }
    guard let text = String(validating: Array(bytes), as: UTF8.self) else {
        return bytes.map { (0x20..<0x7f).contains($0) ? String(Unicode.Scalar($0)) : escaped([$0]) }.joined()
    }
    if bytes.allSatisfy({ (0x20..<0x7f).contains($0) }) { return text }
    var shown = ""
    for scalar in text.unicodeScalars {
        if scalar.isPrintable {
            shown.unicodeScalars.append(scalar)
        } else {
            shown += escaped(String(scalar).utf8)
        }
    }
    return shown
}

extension Unicode.Scalar {
    /// Whether it neither steers a terminal nor hides from the eye.
    public var isPrintable: Bool {
        switch properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .unassigned: false
        default: true
        }
    }
}

/// The same of text.
public func printable(_ text: String) -> String { printable(text.utf8) }

/// A field as the kernel has it in its tables, proc(5): a space, a tab, a newline and a backslash stand there as a backslash
/// and three octal digits.
public func octalsUnescaped(_ field: some Sequence<UInt8>) -> [UInt8] {
    var bytes: [UInt8] = []
    var rest = Array(field)[...]
    while let byte = rest.popFirst() {
        let octal = String(decoding: rest.prefix(3), as: UTF8.self)
        if byte == UInt8(ascii: "\\"), octal.utf8.count == 3, let value = UInt8(octal, radix: 8) {
            bytes.append(value)
            rest = rest.dropFirst(3)
        } else {
            bytes.append(byte)
        }
    }
    return bytes
}
