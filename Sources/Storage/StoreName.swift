import OpenSSL
import Plumbing

extension StoreURL {
    /// A name for a folder that is this store's alone, 1 to 64 characters of `A-Za-z0-9._-`, the first one no dot: a part to
    /// read, and the start of a digest of the URL, so that no two stores have one name. Spellings of one URL give the same.
    public var folderName: String {
        get throws {
            let url = canonical
            var readable = ""
            for byte in url.utf8 {
                switch Unicode.Scalar(byte) {
                case "a"..."z", "A"..."Z", "0"..."9", ".", "_": readable.unicodeScalars.append(.init(byte))
                default: if readable.last != "-" { readable += "-" }
                }
            }
            let digest = try Digest.hex(.sha256, of: Array(url.utf8)).prefix(16)
            return readable.prefix(64 - 1 - digest.count).trimmed("-") + "-\(digest)"
        }
    }

    /// One spelling for what is one store whatever there is: no empty names and no `.` in a path, a label without case, no
    /// port that goes without saying. `..` stays, as a link may lead elsewhere.
    private var canonical: String {
        switch self {
        case .directory(let path):
            return "file:/" + path.split(separator: "/").filter { $0 != "." }.joined(separator: "/")
        case .drive(let label): return "label:\(label.lowercased())"
        case .dunesea(let authority, let isEncrypted):
            let port = isEncrypted ? ":443" : ":80"
            let host = authority.lowercased()
            let name = host.hasSuffix(port) ? String(host.dropLast(port.count)) : host
            return StoreURL.dunesea(authority: name, isEncrypted: isEncrypted).description
        }
    }
}

extension Substring {
    fileprivate func trimmed(_ end: Character) -> Substring {
        var text = self
        while text.last == end { text.removeLast() }
        return text
    }
}
