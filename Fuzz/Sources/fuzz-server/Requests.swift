import Dispatch
import Envelope
import Fuzzing
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import NIOEmbedded
import NIOPosix
import OpenSSL
import Plumbing
import StoreFormat

@testable import DuneSea

private let threads: NIOThreadPool = {
    let threads = NIOThreadPool(numberOfThreads: 2)
    threads.start()
    return threads
}()

/// Requests, one after another, to a server with an empty store:
///
/// ```
/// METHOD PATH
/// FIELD: VALUE
///
/// BODY
/// =====
/// ```
/// What a text cannot hold or know stands there by its name in braces.
func requests(_ input: [UInt8]) throws {
    let directory = try Scratch()
    let digest = try Digest.hex(.sha256, of: Array("fuzz".utf8))
    try directory.write(
        Array("\(digest) pod append,read,prune 2026-11-23T06:10:00Z\n".utf8), to: "dunesea/tokens")
    var limits = Limits()
    limits.domainBytes = 1 << 20
    limits.pruning.keepAtLeast = 0
    let lines = Lines()
    let last = try ask(input.parts(at: "\n=====\n").prefix(20), in: directory.path, limits) { lines.add($0) }
    for line in lines.all {
        hold(!line.hasPrefix("error: "), line)
        hold(line.utf8.allSatisfy { (0x20...0x7e).contains($0) }, "not printable: \(line)")
    }
    // What it has on disk, the next server reads.
    hold(try ask([], in: directory.path, limits, log: { _ in }) == last, "another head")
}

/// Asks all of it of one server, and returns the head.
private func ask(
    _ requests: ArraySlice<[UInt8]>, in directory: String, _ limits: Limits,
    log: @escaping @Sendable (String) -> Void
) throws -> Address? {
    let api = API(
        store: try Store(directory: directory, limits: limits, threads: threads),
        door: .tokens(try TokenCache(directory: directory)), metrics: Metrics(),
        strangers: Strangers(most: 8), plain: false, log: log)
    let done = DispatchSemaphore(value: 0)
    Task {
        var upload = "0"
        for request in requests { await answer(request, of: api, &upload) }
        done.signal()
    }
    done.wait()
    return try api.store.shelf(Domain("pod")).last
}

private func answer(_ text: [UInt8], of api: API, _ upload: inout String) async {
    let parts = filled(text, upload).parts(at: "\n\n")
    let head = parts[0].parts(at: "\n").map { String(decoding: $0, as: UTF8.self) }
    let words = head[0].split(separator: " ", maxSplits: 1)
    guard words.count == 2, let method = HTTPRequest.Method(String(words[0])) else { return }
    var fields: HTTPFields = [.authorization: "Bearer fuzz"]
    for line in head.dropFirst() {
        let parts = line.split(separator: ":", maxSplits: 1)
        guard parts.count == 2, let name = HTTPField.Name(String(parts[0])) else { continue }
        fields[name] = String(parts[1].drop { $0 == " " })
    }
    let body = ByteBuffer(bytes: Array(parts.dropFirst().joined(separator: Array("\n\n".utf8))))
    let request = Request(
        head: .init(
            method: method, scheme: "http", authority: "x", path: String(words[1]), headerFields: fields),
        body: .init(buffer: body))
    let channel = NIOAsyncTestingChannel()
    let context = Connection(
        source: .init(channel: channel, logger: Logger(label: "fuzz") { _ in SwiftLogNoOpLogHandler() }))
    let answered = try? await api.respond(to: request, context: context)
    _ = try? await channel.finish()
    guard let response = answered else { return }
    let status = response.status.code
    hold([503, 507].contains(status) || status < 500, "the server failed: \(status)")
    for field in response.headers {
        hold(field.value.utf8.allSatisfy { (0x20...0x7e).contains($0) }, "a field that breaks the head")
    }
    hold(response.headers[.duneSea] == "1", "not said whose answer it is")
    if status == 201, let place = response.headers[.location], place.contains("/uploads/") {
        upload = String(place.split(separator: "/").last ?? "")
    }
    if status == 206 {
        hold(response.headers[.contentRange]?.hasPrefix("bytes ") == true, "a range of what?")
    }
}

private func filled(_ text: [UInt8], _ upload: String) -> [UInt8] {
    var text = text
    let (blob, metadata, key) = (sealed(.blob, 300), sealed(.metadata, 200), sealed(.key, 200))
    let pruning = sealed(.pruning, 200)
    func hex(_ bytes: [UInt8]) -> [UInt8] { Array(((try? Digest.hex(.sha256, of: bytes)) ?? "").utf8) }
    for (mark, bytes) in [
        ("{upload}", Array(upload.utf8)), ("{blob}", blob), ("{metadata}", metadata), ("{key}", key),
        ("{blob's}", hex(blob)), ("{key's}", hex(key)), ("{half}", Array(blob.prefix(150))),
        ("{rest}", Array(blob.dropFirst(150))), ("{pruning}", pruning), ("{pruning's}", hex(pruning)),
    ] { text = Array(text.parts(at: mark).joined(separator: bytes)) }
    return text
}

private func sealed(_ kind: Envelope.Kind, _ count: Int) -> [UInt8] {
    let header = Envelope.Header(kind: kind, keyID: [UInt8](repeating: 1, count: 16)).bytes
    return header + [UInt8](repeating: 7, count: count - 80) + Envelope.trailer(length: UInt64(count))
}

private final class Lines: @unchecked Sendable {
    private let lock = DispatchSemaphore(value: 1)
    private var lines: [String] = []

    func add(_ line: String) {
        lock.wait()
        lines.append(line)
        lock.signal()
    }

    var all: [String] {
        lock.wait()
        defer { lock.signal() }
        return lines
    }
}
