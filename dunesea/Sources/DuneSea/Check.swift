import DurableFiles
import Envelope
import Glibc
import OpenSSL
import Plumbing
import StoreFormat

/// Verifies what a directory holds, beside a running server or without one: every blob and key against its address, every
/// document, and that each backup has its blob, or that this was pruned.
public final class Check {
    private let directory: String
    private let report: (String) -> Void

    public private(set) var blobs = 0
    public private(set) var bytes: UInt64 = 0
    public private(set) var backups = 0
    public private(set) var keys = 0
    /// Backups whose blobs went to the trash.
    public private(set) var pruned = 0
    public private(set) var faults = 0

    /// - Parameter report: takes a line for each fault.
    public init(directory: String, report: @escaping (String) -> Void) {
        self.directory = directory
        self.report = report
    }

    /// Blocks for as long as it takes to read everything.
    public func run() throws {
        let top = Folder(try .folder(at: directory))
        guard let stored = try top.folder(Layout.root) else {
            throw Failure(.notFound, "there is no store", at: directory)
        }
        let records = try top.folder(Places.ownName)?.folder(Places.domainsName)
        for name in try stored.visibleNames().sorted() {
            guard (try? Domain(name)) != nil, let domain = try stored.folder(name) else {
                fault("not the name of a domain", stored.path(of: name))
                continue
            }
            // A store that no server has opened yet may lack a folder.
            let blobs = try domain.folder(Layout.blobs)
            if let blobs { try verifyBlobs(in: blobs) }
            // What is in there may yet come back.
            if let trash = try domain.folder(Layout.trash) { try verifyBlobs(in: trash) }
            if let metadata = try domain.folder(Layout.metadata) {
                let pruned = try records?.folder(name).map(Folders.pruned(by:)) ?? []
                try backups(in: metadata, blobs: blobs, pruned: pruned)
            }
            if let keys = try domain.folder(Layout.keys) {
                try verifyNamed(.key, in: keys) { self.keys += 1 }
            }
            if let prunings = try domain.folder(Layout.prunings) {
                try verifyNamed(.pruning, in: prunings) {}
            }
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

    private func backups(in folder: Folder, blobs: Folder?, pruned: Set<Address>) throws {
        try entries(in: folder, called: "metadata document") { entry in
            if try blobs?.length(ofFile: entry.address.hex) == nil {
                if pruned.contains(entry.address) {
                    self.pruned += 1
                } else {
                    fault("its blob is missing", folder.path(of: entry.name))
                }
            }
            verify(entry.name, in: folder, .metadata) { _, _ in self.backups += 1 }
        }
    }

    /// Small objects that are named by their own SHA-256.
    private func verifyNamed(_ kind: Envelope.Kind, in folder: Folder, _ counted: () -> Void) throws {
        try entries(in: folder, called: "\(kind)") { entry in
            verify(entry.name, in: folder, kind) { file, _ in
                try self.digest(of: file, is: entry.address.hex)
                counted()
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
