import DurableFiles
import Envelope
import Glibc
import OpenSSL
import Plumbing
import StoreFormat

/// A blob in a directory: one file of its address, or parts `<address>.000`, `<address>.001`, … that follow one another.
final class StoredBlob {
    private let directory: Folder
    private let blob: Address
    private let files: [(name: String, length: UInt64)]
    private var current: (index: Int, file: File)?
    let length: UInt64

    /// Nil where there is no such blob. What is there need not be whole.
    ///
    /// - Throws: `badData` where it is longer than any blob: sparse files claim what no drive holds.
    init?(_ blob: Address, in directory: Folder) throws {
        self.directory = directory
        self.blob = blob
        if let length = try directory.length(of: blob.hex) {
            files = [(blob.hex, length)]
        } else {
            var parts: [(String, UInt64)] = []
            while parts.count < StagedBlob.maximumParts {
                let name = StoredBlob.name(ofPart: parts.count, of: blob)
                guard let length = try directory.length(of: name) else { break }
                parts.append((name, length))
            }
            files = parts
        }
        length = try files.reduce(0) { sum, part in
            guard part.length <= Envelope.maximumLength, sum + part.length <= Envelope.maximumLength else {
                throw Failure.damaged(
                    "blob", Failure(.badData, "too long for a blob"),
                    at: directory.path(of: part.name))
            }
            return sum + part.length
        }
        if files.isEmpty { return nil }
    }

    static func name(ofPart index: Int, of blob: Address) -> String {
        "\(blob.hex).\(index.padded(to: 3))"
    }

    /// The blobs in a folder, with the names of the files of each, first part first. Other names are somebody else's.
    static func files(in directory: Folder) throws -> [Address: [String]] {
        var files: [Address: [String]] = [:]
        for name in try directory.names() {
            let parts = name.split(separator: ".", omittingEmptySubsequences: false)
            guard parts.count <= 2, let blob = try? Address(parts[0]),
                parts.count == 1
                    || parts[1].utf8.count == 3 && parts[1].utf8.allSatisfy({ (0x30...0x39).contains($0) })
            else { continue }
            files[blob, default: []].append(name)
        }
        return files.mapValues { $0.sorted() }
    }

    /// The length of those files in bytes, and when the last of them was modified, in seconds since 1970.
    static func extent(of files: [String], in directory: Folder) throws -> (size: UInt64, modified: Int64) {
        try files.reduce((0, 0)) { sum, name in
            guard let file = try directory.extent(of: name), file.length <= Envelope.maximumLength else {
                return sum
            }
            return (sum.0 + file.length, max(sum.1, file.modified))
        }
    }

    /// Removes the parts of a blob, also where some in the middle are missing. The first goes first: without it
    /// there is no blob.
    static func removeParts(of blob: Address, in directory: Folder) throws {
        for name in try directory.names().filter({ $0.hasPrefix("\(blob.hex).") }).sorted() {
            directory.remove(name)
        }
    }

    /// Reads what there is from an offset on, at most to the end of a file; 0 at the blob's end.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws -> Int {
        var start: UInt64 = 0
        for (index, part) in files.enumerated() {
            guard offset < start + part.length else {
                start += part.length
                continue
            }
            if current?.index != index {
                current = (index, try directory.file(part.name, O_RDONLY))
            }
            guard let file = current?.file else { return 0 }
            let count = try file.read(into: buffer, at: offset - start)
            guard count > 0 else {
                throw Failure.system("cannot read", at: "\(file.name), byte \(offset - start)", errno: EIO)
            }
            return count
        }
        return 0
    }

    private func bytes(at offset: UInt64, count: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var filled = 0
        try bytes.withUnsafeMutableBytes { buffer in
            while filled < count {
                let count = try read(
                    into: .init(rebasing: buffer[filled...]), at: offset + UInt64(filled))
                if count == 0 { break }
                filled += count
            }
        }
        return Array(bytes.prefix(filled))
    }

    /// Checks what can be seen without reading all of it: a sealed blob's header in front, a trailer at the end that
    /// tells the length that is there.
    ///
    /// - Throws: `badData` where it is not whole.
    func checkWhole() throws {
        let place = directory.path(of: blob.hex)
        do {
            try Framing.check(length, .blob, at: place) { try bytes(at: $0, count: $1) }
        } catch let failure as Failure where failure.status == .badData {
            throw Failure.damaged("blob", failure, at: place)
        }
    }

    /// Whether every byte is as the address says. Reads all of it.
    func isRight() throws -> Bool {
        let digest = try Digest(.sha256)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: Ring.alignment)
        defer { buffer.deallocate() }
        var offset: UInt64 = 0
        while true {
            let count = try read(into: buffer, at: offset)
            if count == 0 { return digest.finish() == blob.hex }
            digest.update(.init(rebasing: buffer[..<count]))
            offset += UInt64(count)
        }
    }
}
