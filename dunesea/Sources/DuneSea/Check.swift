import Envelope
import Glibc
import OpenSSL
import Plumbing

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
        do {
            for name in try Directory.names("\(directory)/escapepod").sorted() {
                let path = "\(directory)/escapepod/\(name)"
                guard Domain(name) != nil else {
                    fault("no domain's name", path)
                    continue
                }
                try blobs(in: "\(path)/blobs")
                try backups(in: "\(path)/metadata", blobs: "\(path)/blobs")
                try keys(in: "\(path)/keys")
            }
        } catch let error as DiskError {
            throw error.failure
        }
    }

    private func fault(_ what: String, _ place: String) {
        faults += 1
        report("\(what): \(place)")
    }

    private func blobs(in folder: String) throws {
        for name in try names(in: folder) {
            let path = "\(folder)/\(name)"
            guard Address(name) != nil else {
                fault("no blob's name", path)
                continue
            }
            try verify(path) { file, size in
                try Check.envelope(of: file, size, .blob)
                try self.digest(of: file, is: name)
                self.blobs += 1
                self.bytes = self.bytes.addingClamped(size)
            }
        }
    }

    private func backups(in folder: String, blobs: String) throws {
        try entries(in: folder, called: "metadata document") { entry, path in
            if try Directory.size("\(blobs)/\(entry.address)") == nil { fault("its blob is missing", path) }
            try verify(path) { file, size in
                try Check.envelope(of: file, size, .metadata)
                self.backups += 1
            }
        }
    }

    private func keys(in folder: String) throws {
        try entries(in: folder, called: "key") { entry, path in
            try verify(path) { file, size in
                try Check.envelope(of: file, size, .key)
                try self.digest(of: file, is: entry.address.description)
                self.keys += 1
            }
        }
    }

    /// A store that no server has opened yet may lack a folder.
    private func names(in folder: String) throws -> [String] {
        do {
            return try Directory.names(folder).sorted()
        } catch let error as DiskError where error.code == ENOENT {
            return []
        }
    }

    private func entries(
        in folder: String, called what: String, _ visit: (Shelf.Entry, _ path: String) throws -> Void
    ) throws {
        var before: UInt64?
        for name in try names(in: folder) {
            let path = "\(folder)/\(name)"
            guard let entry = Shelf.Entry(fileName: name) else {
                fault("no \(what)'s name", path)
                continue
            }
            if entry.number == before { fault("another \(what) has this number too", path) }
            before = entry.number
            try visit(entry, path)
        }
    }

    private func verify(_ path: String, _ body: (File, _ size: UInt64) throws -> Void) throws {
        do {
            let file = try File(path, O_RDONLY)
            try body(file, file.size())
        } catch let failure as Failure {
            fault(failure.what, path)
        } catch let error as DiskError {
            fault(error.failure.what, path)
        }
    }

    private static func envelope(of file: File, _ size: UInt64, _ kind: Envelope.Kind) throws {
        try Envelope.Header(parsing: file.read(at: 0, count: Envelope.headerLength), at: file.path)
            .require(kind, at: file.path)
        let trailer = UInt64(Envelope.trailerLength)
        try Envelope.check(
            tail: file.read(at: size - min(size, trailer), count: Envelope.trailerLength), length: size,
            at: file.path)
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
        if found != address { fault("damaged, its bytes have the SHA-256 \(found)", file.path) }
    }
}
