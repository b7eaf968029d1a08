import Envelope
import Glibc
import OpenSSL
import Plumbing
import StoreFormat

@testable import Storage

/// A sealed stream as a store sees it: header, noise, trailer. Other bytes for every call.
func sealed(_ kind: Envelope.Kind, length: Int) -> [UInt8] {
    let header = Envelope.Header(kind: kind, keyID: .init(repeating: 7, count: Envelope.Header.keyIDLength))
    let count = length - Envelope.headerLength - Envelope.trailerLength
    let noise = [UInt8](unsafeUninitializedCapacity: count) { bytes, filled in
        arc4random_buf(bytes.baseAddress!, count)
        filled = count
    }
    return header.bytes + noise + Envelope.trailer(length: UInt64(length))
}

func domain(_ name: String) throws -> Domain { try Domain(name) }

func address(_ bytes: [UInt8]) throws -> Address {
    try Address(Digest.hex(.sha256, of: bytes))
}

/// A pipe that a thread fills with the bytes, so that nobody knows how long they are.
func stream(_ bytes: [UInt8]) throws -> Descriptor {
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else { throw Failure.system("pipe", at: nil) }
    let (source, sink) = (ends[0], ends[1])
    _ = fcntl(source, F_SETFD, FD_CLOEXEC)
    signal(SIGPIPE, SIG_IGN)
    _ = try Worker {
        try? Descriptor(owning: sink, name: "test's end").write(bytes)
    }
    return Descriptor(owning: source, name: "test's input")
}

/// A directory of the test's own, removed with the value.
final class Scratch: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/escapepod-test-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failure.system("mkdtemp", at: nil) }
        path = String(decoding: template.dropLast().map(UInt8.init), as: UTF8.self)
    }

    deinit {
        var removal = try? Child(["rm", "-rf", path])
        _ = try? removal?.wait()
    }
}

extension Scratch {
    func write(_ bytes: [UInt8], to name: String) throws {
        try Descriptor(opening: "\(path)/\(name)", O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600).write(bytes)
    }

    func read(_ name: String) throws -> [UInt8] {
        try Descriptor(opening: "\(path)/\(name)", O_RDONLY).readAll(limit: 64 << 20)
    }
}

/// What a store gives for a blob, and how that ended.
func fetch(
    _ blob: Address, of domain: Domain, from store: any Store, size: UInt64? = nil, sha512: String? = nil
) throws -> (bytes: [UInt8], failure: Failure?) {
    let scratch = try Scratch()
    let sink = try Descriptor(opening: "\(scratch.path)/out", O_WRONLY | O_CREAT, mode: 0o600)
    do {
        try store.fetchBlob(blob, of: domain, to: sink, size: size, sha512: sha512)
        return (try scratch.read("out"), nil)
    } catch let failure as Failure {
        return (try scratch.read("out"), failure)
    }
}

/// Whether the bytes begin with those; `starts(with:)` takes seconds for a few megabytes under AddressSanitizer.
func begins(_ bytes: [UInt8], with start: [UInt8]) -> Bool {
    start.count <= bytes.count && memcmp(bytes, start, start.count) == 0
}

/// The status that the body fails with, or `done`.
func status(_ body: () throws -> Void) -> Plumbing.ExitStatus {
    do {
        try body()
        return .done
    } catch {
        return (error as? Failure)?.status ?? .bug
    }
}
