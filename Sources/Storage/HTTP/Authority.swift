import Plumbing

/// HOST or HOST:PORT, as HTTP's URLs have it: a host's name, an IPv4 address, or an IPv6 address in brackets.
struct Authority: Equatable, CustomStringConvertible {
    let description: String
    private let host: Substring
    /// Without the colon; empty where none is given.
    private let port: Substring

    /// - Throws: `usage` for anything else.
    init(_ text: Substring) throws {
        description = String(text)
        let end: Substring.Index
        let isHost: (UInt8) -> Bool
        if text.hasPrefix("["), let bracket = text.firstIndex(of: "]") {
            end = text.index(after: bracket)
            host = text[text.index(after: text.startIndex)..<bracket]
            isHost = { $0.isHexDigit || $0 == UInt8(ascii: ":") || $0 == UInt8(ascii: ".") }
        } else {
            end = text.firstIndex(of: ":") ?? text.endIndex
            host = text[..<end]
            isHost = { $0.isLetterOrDigit || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: ".") }
        }
        let rest = text[end...]
        port = rest.dropFirst()
        guard !host.isEmpty, host.utf8.allSatisfy(isHost),
            rest.isEmpty || rest.hasPrefix(":") && port.utf8.allSatisfy(\.isDigit) && UInt16(port) ?? 0 > 0
        else { throw Failure(.usage, "not HOST or HOST:PORT") }
    }

    /// The host as a program takes it that wants no brackets.
    var name: String { String(host) }

    /// The port; nil where none is given.
    var number: String? { port.isEmpty ? nil : String(port) }

    /// Whether what is sent there stays on this machine.
    var isLoopback: Bool {
        if description.hasPrefix("[") { return host == "::1" }
        // A number with a zero in front is octal to libcurl.
        let numbers = host.split(separator: ".", omittingEmptySubsequences: false).map { part in
            UInt8(part).flatMap { String($0) == part ? $0 : nil }
        }
        return host == "localhost" || numbers.count == 4 && numbers[0] == 127 && !numbers.contains(nil)
    }

    /// One spelling, in lower case and without a port that goes without saying.
    func canonical(defaultPort: Int) -> String {
        let name = description.lowercased()
        let ending = ":\(defaultPort)"
        return name.hasSuffix(ending) ? String(name.dropLast(ending.count)) : name
    }
}

extension UInt8 {
    fileprivate var isDigit: Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(self) }
    fileprivate var isHexDigit: Bool {
        isDigit || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(self | 0x20)
    }
    var isLetterOrDigit: Bool {
        isDigit || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(self | 0x20)
    }
}
