import DurableFiles
import Envelope
import Glibc
import OpenSSL
import Plumbing
import StoreFormat

/// Verifies what a directory holds, beside a running server or without one: every blob and key against its address, every
/// document, and that each backup has its blob.
public final class Check {
    private let directory: String
    private let report: (String) -> Void

    public private(set) var blobs = 0
    public private(set) var bytes: UInt64 = 0
    public private(set) var backups = 0
    public private(set) var keys = 0
    public private(set) var faults = 0

    /// - Parameter report: takes a line for each fault.
    public init(directory: String, report: @escaping (String) -> Void) {
        self.directory = directory
        self.report = report
    }

    /// Blocks for as long as it takes to read everything.
    public func run() throws {
        guard let stored = try Folder(.folder(at: directory)).folder(Layout.root) else {
            throw Failure(.notFound, "there is no store", at: directory)
        }
        for name in try stored.visibleNames().sorted() {
            guard (try? Domain(name)) != nil, let domain = try stored.folder(name) else {
                fault("not the name of a domain", stored.path(of: name))
                continue
            }
            // A store that no server has opened yet may lack a folder.
            let blobs = try domain.folder(Layout.blobs)
            if let blobs { try verifyBlobs(in: blobs) }
            if let metadata = try domain.folder(Layout.metadata) { try backups(in: metadata, blobs: blobs) }
            if let keys = try domain.folder(Layout.keys) { try verifyKeys(in: keys) }
        }
    }

    private func fault(_ what: String, _ place: String) {
        faults += 1
        report("\(what): \(place)")
    }

    private func verifyBlobs(in folder: Folder) throws {
        for name in try folder.visibleNames().sorted() {
            guard (try? Address(name)) != nil else {
                fault("not the name of a blob", folder.path(of: name))
                continue
            }
            verify(name, in: folder, .blob) { file, length in
                try self.digest(of: file, is: name)
                self.blobs += 1
                self.bytes = self.bytes.addingClamped(length)
            }
        }
    }

    private func backups(in folder: Folder, blobs: Folder?) throws {
        try entries(in: folder, called: "metadata document") { entry in
            if try blobs?.length(ofFile: entry.address.hex) == nil {
                fault("its blob is missing", folder.path(of: entry.name))
            }
            verify(entry.name, in: folder, .metadata) { _, _ in self.backups += 1 }
        }
    }

    private func verifyKeys(in folder: Folder) throws {
        try entries(in: folder, called: "key") { entry in
            verify(entry.name, in: folder, .key) { file, _ in
                try self.digest(of: file, is: entry.address.hex)
                self.keys += 1
            }
        }
    }

    private func entries(
        in folder: Folder, called what: String, _ visit: (History.Entry) throws -> Void
    ) throws {
        var before: UInt64?
        for name in try folder.visibleNames().sorted() {
            guard let entry = History.Entry(name: name) else {
                fault("not the name of a \(what)", folder.path(of: name))
                continue
            }
            if entry.number == before { fault("another \(what) has the same number", folder.path(of: name)) }
            before = entry.number
            try visit(entry)
        }
    }

    /// Whatever is wrong with the one file, the others are looked at too.
    private func verify(
        _ name: String, in folder: Folder, _ kind: Envelope.Kind,
        _ body: (File, _ length: UInt64) throws -> Void
    ) {
        let path = folder.path(of: name)
        do {
            let file = try folder.file(name, O_RDONLY)
            let length = try file.length()
            try Framing.check(length, kind, at: path) { try file.read(at: $0, count: $1) }
            try body(file, length)
        } catch {
            fault((error as? Failure)?.what ?? "\(error)", path)
        }
    }

    private func digest(of file: File, is address: String) throws {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { buffer.deallocate() }
        let digest = try Digest(.sha256)
        var offset: UInt64 = 0
        while true {
            let count = try file.read(into: buffer, at: offset)
            if count == 0 { break }
            digest.update(.init(rebasing: buffer.prefix(count)))
            offset += UInt64(count)
        }
        let found = digest.finish()
        if found != address { fault("damaged: its bytes have the SHA-256 \(found)", file.name) }
    }
}
