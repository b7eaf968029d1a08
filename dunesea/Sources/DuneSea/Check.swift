import Envelope
import Glibc
import OpenSSL
import Plumbing

/// Verifies what a directory holds, beside a running server or without one: every blob against its address, every document,
/// and that each backup has its blob.
public struct Check {
    private let directory: String
    private let report: (String) -> Void

    public private(set) var blobs = 0
    public private(set) var bytes: UInt64 = 0
    public private(set) var backups = 0
    public private(set) var faults = 0

    /// - Parameter report: takes a line for each fault.
    public init(directory: String, report: @escaping (String) -> Void) {
        self.directory = directory
        self.report = report
    }

    /// Blocks for as long as it takes to read everything.
    public mutating func run() throws {
        do {
            for name in try Directory.names("\(directory)/escapepod").sorted() {
                let path = "\(directory)/escapepod/\(name)"
                guard Domain(name) != nil else {
                    fault("no domain's name", path)
                    continue
                }
                try blobs(in: "\(path)/blobs")
                try backups(in: "\(path)/metadata", blobs: "\(path)/blobs")
            }
        } catch let error as DiskError {
            throw error.failure
        }
    }

    private mutating func fault(_ what: String, _ place: String) {
        faults += 1
        report("\(what): \(place)")
    }

    private mutating func blobs(in folder: String) throws {
        for name in try Directory.names(folder).sorted() {
            let path = "\(folder)/\(name)"
            guard Address(name) != nil else {
                fault("no blob's name", path)
                continue
            }
            do {
                let file = try File(path, O_RDONLY)
                let size = try file.size()
                try Check.envelope(of: file, size, .blob)
                let digest = try Check.digest(of: file)
                if digest != name { fault("damaged, its bytes have the SHA-256 \(digest)", path) }
                blobs += 1
                bytes += size
            } catch let failure as Failure {
                fault(failure.what, path)
            } catch let error as DiskError {
                fault(error.failure.what, path)
            }
        }
    }

    private mutating func backups(in folder: String, blobs: String) throws {
        var before: UInt64?
        for name in try Directory.names(folder).sorted() {
            let path = "\(folder)/\(name)"
            guard let backup = Shelf.Backup(fileName: name) else {
                fault("no metadata document's name", path)
                continue
            }
            if backup.number == before { fault("two documents have this number", path) }
            before = backup.number
            if try Directory.size("\(blobs)/\(backup.blob)") == nil { fault("its blob is missing", path) }
            do {
                let file = try File(path, O_RDONLY)
                try Check.envelope(of: file, file.size(), .metadata)
                backups += 1
            } catch let failure as Failure {
                fault(failure.what, path)
            } catch let error as DiskError {
                fault(error.failure.what, path)
            }
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

    private static func digest(of file: File) throws -> String {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { buffer.deallocate() }
        let digest = try Digest(.sha256)
        var offset: UInt64 = 0
        while true {
            let count = try file.read(into: buffer, at: offset)
            if count == 0 { return digest.finish() }
            digest.update(.init(rebasing: buffer.prefix(count)))
            offset += UInt64(count)
        }
    }
}
