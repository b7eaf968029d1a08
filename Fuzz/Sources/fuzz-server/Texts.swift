import DurableFiles
import Fuzzing
import Glibc
import Plumbing
import StoreFormat

@testable import DuneSea

/// A Range header, for a size that the text in front of it chooses, and what names a file, a domain, an address.
func texts(_ input: [UInt8]) throws {
    var program = Program(input)
    let size = [0, 1, 1000, UInt64.max >> 1, program.number(bytes: 8) >> 1][program.number(below: 5)]
    let text = String(decoding: program.rest(), as: UTF8.self)
    for text in [text, "bytes=\(text)"] {
        guard case .part(let range) = ByteRange.parse(text, size: size) else { continue }
        hold(!range.isEmpty && range.upperBound <= size && range.count > 0, "\(range) of \(size)")
    }
    if let entry = History.Entry(name: text) { hold(entry.name == text, "another name") }
    _ = (try? Domain(text), try? Address(text), Upload.isID(text))
}

/// The file of tokens.
func tokens(_ input: [UInt8]) throws {
    let directory = try Scratch()
    try directory.write(input, to: "dunesea/tokens")
    guard let tokens = try accepted({ try Tokens(in: directory.path) }) else { return }
    try directory.write(Array(tokens.entries.map(\.line).joined().utf8), to: "dunesea/tokens")
    let again = try Tokens(in: directory.path)
    hold(again.entries.map(\.line) == tokens.entries.map(\.line), "other tokens")
    hold(tokens.rights(of: "", in: try Domain("pod")) == nil, "open without a token")
}

/// What the server noted of a domain: when its backups came in, and what went.
func received(_ input: [UInt8]) throws {
    let directory = try Scratch()
    let places = try Places(in: directory.path)
    let folders = try Folders(of: Domain("pod"), in: places)
    let blobs = try ["a", "b", "c"].map { try Address(String(repeating: $0, count: 64)) }
    for (index, blob) in blobs.enumerated() {
        try directory.write([1], to: "escapepod/pod/blobs/\(blob)")
        let entry = "\(String(repeating: "0", count: 9))\(index + 1)-\(blob)"
        try directory.write([1], to: "escapepod/pod/metadata/\(entry)")
    }
    try directory.write(input, to: "dunesea/domains/pod/received")
    if let holdings = try accepted({ try Holdings(in: folders) }) {
        for age in [0, 1, 30 * 86400, .max] as [Int64] {
            hold(holdings.held(for: age).contains(blobs[2]), "the newest may go")
        }
        hold(!holdings.leaving(blobs, under: PruningRules()).contains(blobs[2]), "the newest goes")
        hold(holdings.entries(under: PruningRules()).count == 3, "not all are listed")
    }
    try directory.write(input, to: "dunesea/domains/pod/pruned")
    _ = try accepted { try Folders.pruned(by: folders.records) }
}

/// A directory in memory as a server has it, gone with the value.
final class Scratch: Sendable {
    let path: String

    init() throws {
        var name = Array("/dev/shm/escapepod-fuzz-XXXXXX".utf8CString)
        guard mkdtemp(&name) != nil else { throw Failure.system("mkdtemp", at: nil) }
        path = String(decoding: name.dropLast().map(UInt8.init), as: UTF8.self)
        mkdir("\(path)/dunesea", 0o700)
    }

    deinit { Scratch.remove(path) }

    func write(_ bytes: [UInt8], to name: String) throws {
        try Descriptor(opening: "\(path)/\(name)", O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600).write(bytes)
    }

    private static func remove(_ path: String) {
        for name in (try? Folder(.folder(at: path)).names()) ?? [] {
            let entry = "\(path)/\(name)"
            if unlink(entry) != 0 { remove(entry) }
        }
        rmdir(path)
    }
}
