import DurableFiles
import Envelope
import Glibc
import HTTPTypes
import NIOCore
import NIOPosix
import OpenSSL
import Plumbing
import StoreFormat
import Testing

@testable import DuneSea

/// What a driver would send: not sealed, but of the outer form.
func sealed(_ kind: Envelope.Kind, _ plain: Int, filler: UInt8 = 7) -> [UInt8] {
    let header = Envelope.Header(kind: kind, keyID: [UInt8](repeating: 1, count: 16)).bytes
    let length = Int(Envelope.sealedLength(of: UInt64(plain)))
    let inside = [UInt8](repeating: filler, count: length - header.count - Envelope.trailerLength)
    return header + inside + Envelope.trailer(length: UInt64(length))
}

func address(of bytes: [UInt8]) throws -> Address {
    try Address(Digest.hex(.sha256, of: bytes))
}

let pod = try! Domain("pod.example.org")

/// A store in a directory of its own, which goes with it; `reopened` is what a killed server's successor sees.
final class Place: Sendable {
    let directory: String
    static let threads: NIOThreadPool = {
        let threads = NIOThreadPool(numberOfThreads: 4)
        threads.start()
        return threads
    }()

    init(in folder: String = "/tmp") throws {
        var name = Array("\(folder)/dunesea-test-XXXXXX".utf8CString)
        directory = String(cString: try #require(mkdtemp(&name)))
    }

    deinit { _ = system("rm -r '\(directory)'") }

    func open(_ limits: Limits = Limits()) throws -> Store {
        try Store(directory: directory, limits: limits, threads: Place.threads)
    }

    var blobs: String { "\(directory)/escapepod/\(pod)/blobs" }
    var metadata: String { "\(directory)/escapepod/\(pod)/metadata" }
    var unfinished: String { "\(directory)/dunesea/uploads/\(pod)" }
}

extension Shelf {
    /// Uploads and finishes.
    func store(_ bytes: [UInt8]) async throws -> Address {
        let upload = try await open()
        try await upload.append(bytes)
        let address = try address(of: bytes)
        _ = try await upload.finish(length: UInt64(bytes.count), address: address)
        return address
    }
}

extension Upload {
    func append(_ bytes: some Sequence<UInt8>) async throws {
        let hold = try await take(at: offset, announced: nil)
        try await append([ByteBuffer(bytes: bytes)], holding: hold)
    }
}

/// The status of the refusal that `body` ends in.
func refusal(_ body: () async throws -> Void) async -> Int? {
    do {
        try await body()
        return nil
    } catch let refusal as Refusal {
        return refusal.status.code
    } catch {
        return -1
    }
}

/// The names in the folder at `path`, in order, without those that start with a dot.
func names(_ path: String) throws -> [String] { try Folder(.folder(at: path)).visibleNames().sorted() }

/// The file at `path`.
func opened(_ path: String, _ flags: Int32) throws -> File {
    File(try Descriptor(opening: path, flags, mode: 0o600))
}
