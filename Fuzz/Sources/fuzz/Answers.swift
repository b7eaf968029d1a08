import Envelope
import Fuzzing
import Glibc
import OpenSSL
import Plumbing
import StoreFormat

@testable import Storage

private let server = Server()
private let sink = Memory()

/// The whole driver against a server that says what the input says: behind the letter of what is asked for, the answers
/// to one connection after another.
func answers(_ input: [UInt8]) throws {
    let pod = try Domain("pod")
    let blob = sealed(.blob, count: 1000)
    let address = try Address(Digest.hex(.sha256, of: blob))
    let said = Array(input.dropFirst()).parts(at: "\n=====\n").map { answer in
        // What a text cannot hold: the sealed bytes, their digest and their length.
        var answer = answer
        for (mark, bytes) in [
            ("{blob}", blob), ("{metadata}", sealed(.metadata, count: 200)),
            ("{key}", sealed(.key, count: 200)),
            ("{sha256}", Array(address.hex.utf8)), ("\n", [0x0d, 0x0a]),
        ] { answer = Array(answer.parts(at: mark).joined(separator: bytes)) }
        return answer
    }
    server.answers = said
    var settings = Settings()
    // Too short to try anything again.
    settings.patience = 0.15
    let http = try HTTP(
        "http://127.0.0.1:\(server.port)", isLocal: true, token: "token", stall: settings.stall)
    let store = DuneSeaStore(http, called: "dunesea+http://127.0.0.1", told: settings)
    do {
        switch input.first {
        case UInt8(ascii: "l"): hold(try store.lastMetadata(of: pod).metadata.count <= 1 << 21, "too long")
        case UInt8(ascii: "d"): _ = try store.metadata(of: address, in: pod)
        case UInt8(ascii: "h"):
            _ = try store.fetchHistory(of: pod, newestFirst: false, to: sink.holding(), complain: { _ in })
        case UInt8(ascii: "k"): _ = try store.sealedKey(of: pod)
        case UInt8(ascii: "a"):
            let blobs = try store.list(of: pod)
            hold(Set(blobs).count == blobs.count, "a circle")
        case UInt8(ascii: "m"):
            try store.storeMetadata(
                sealed(.metadata, count: 200), of: pod, for: address, following: nil, buildingOn: nil,
                from: "input")
        case UInt8(ascii: "w"): try store.storeKey(sealed(.key, count: 200), of: pod, from: "input")
        case UInt8(ascii: "b"):
            guard let pipe = try packets(blob) else { fatalError("no pipe") }
            hold(try store.storeBlob(of: pod, from: pipe).sha256 == address, "another blob")
        default:
            do {
                try store.fetchBlob(address, of: pod, to: sink.holding())
                hold(sink.content == blob, "another blob")
            } catch {
                hold(sink.content.count < blob.count, "the end came out")
                throw error
            }
        }
    } catch let failure as Failure where failure.status != .bug {
        hold(
            failure.message(from: "fuzz").unicodeScalars.allSatisfy { $0.value >= 0x20 || $0 == "\n" },
            "a control character")
    }
}

private func sealed(_ kind: Envelope.Kind, count: Int) -> [UInt8] {
    let header = Envelope.Header(kind: kind, keyID: .init(repeating: 7, count: Envelope.Header.keyIDLength))
    return header.bytes + [UInt8](repeating: 9, count: count - 80) + Envelope.trailer(length: UInt64(count))
}

/// Answers each connection once, without a look at what it asks.
private final class Server: @unchecked Sendable {
    let port: UInt16
    private let number: Int32
    private var lock = pthread_mutex_t()
    private var left: [[UInt8]] = []

    var answers: [[UInt8]] {
        get { locked { left } }
        set { locked { left = newValue } }
    }

    private func locked<Result>(_ body: () -> Result) -> Result {
        pthread_mutex_lock(&lock)
        defer { pthread_mutex_unlock(&lock) }
        return body()
    }

    init() {
        pthread_mutex_init(&lock, nil)
        number = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let number = number
        let isListening = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(number, $0, length) == 0 && listen(number, 64) == 0
                    && getsockname(number, $0, &length) == 0
            }
        }
        guard isListening else { fatalError("cannot listen") }
        port = UInt16(bigEndian: address.sin_port)
        // For as long as the process lives.
        _ = try? Worker { while true { self.serve(accept(self.number, nil, nil)) } }
    }

    private func serve(_ connection: Int32) {
        defer { close(connection) }
        var patience = timeval(tv_sec: 0, tv_usec: 5_000)
        setsockopt(
            connection, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        var request = [UInt8](repeating: 0, count: 64 << 10)
        guard recv(connection, &request, request.count, 0) > 0 else { return }
        let answer = locked { left.isEmpty ? [] : left.removeFirst() }
        send(connection, answer, answer.count, Int32(MSG_NOSIGNAL))
        shutdown(connection, Int32(SHUT_WR))
        while recv(connection, &request, request.count, 0) > 0 {}
    }
}
