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
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .unassigned:
            shown += escaped(String(scalar).utf8)
        default: shown.unicodeScalars.append(scalar)
        }
    }
    return shown
}

/// The same of text.
public func printable(_ text: String) -> String { printable(text.utf8) }
