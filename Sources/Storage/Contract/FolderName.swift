import OpenSSL
import Plumbing

extension StoreURL {
    /// A name for a folder that is this store's alone, 1 to 64 characters of `A-Za-z0-9._-`, the first one no dot: a part to
    /// read, and the start of a digest of the URL, so that no two stores have one name. Spellings of one URL give the same.
    public var folderName: String {
        get throws {
            let url = driver.canonical
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
}

extension Substring {
    fileprivate func trimmed(_ end: Character) -> Substring {
        var text = self
        while text.last == end { text.removeLast() }
        return text
    }
}
