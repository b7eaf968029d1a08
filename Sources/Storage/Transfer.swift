import Glibc
import Plumbing

/// One request and its answer while libcurl carries them: what its functions call.
final class Transfer {
    private(set) var answer = HTTP.Answer()
    /// Why one of the functions stopped the transfer.
    private(set) var failure: (any Error)?
    private(set) var hasStalled = false
    /// The body was not read any further; it may be somebody's page about a fault.
    private(set) var hasEnough = false
    /// libcurl takes a head that is cut between two lines for a whole one.
    private(set) var isHeadWhole = false
    /// In seconds.
    let stall: Double

    let bodyLength: Int
    private let body: [UnsafeRawBufferPointer]
    private var sent = 0
    private let limit: Int
    private let receive: ((HTTP.Answer, UnsafeRawBufferPointer) throws -> Void)?
    private var lastMove = monotonicSeconds()
    private var lastCount = 0
    /// In bytes a second; a peer that gives a byte now and then is to stall too.
    private static let slowest = 1024.0

    init(
        _ request: HTTP.Request, stall: Double, limit: Int,
        receive: ((HTTP.Answer, UnsafeRawBufferPointer) throws -> Void)?
    ) {
        body = request.body ?? []
        bodyLength = body.reduce(0) { $0 + $1.count }
        self.stall = stall
        self.limit = limit
        self.receive = receive
    }

    static func of(_ context: UnsafeMutableRawPointer?) -> Transfer {
        guard let context else { preconditionFailure("libcurl gives back what it was given") }
        return Unmanaged<Transfer>.fromOpaque(context).takeUnretainedValue()
    }

    // MARK: The body that goes out

    func give(_ buffer: UnsafeMutableRawBufferPointer) -> Int {
        var start = 0
        for run in body {
            if sent < start + run.count {
                let rest = run[(sent - start)...].prefix(buffer.count)
                buffer.copyMemory(from: .init(rebasing: rest))
                sent += rest.count
                return rest.count
            }
            start += run.count
        }
        return 0
    }

    /// 0, or 1 where it cannot: `CURL_SEEKFUNC_FAIL`.
    func seek(to offset: Int, from origin: Int32) -> Int32 {
        guard origin == SEEK_SET, (0...bodyLength).contains(offset) else {
            return 1
        }
        sent = offset
        return 0
    }

    // MARK: The answer that comes in

    func header(_ bytes: UnsafeRawBufferPointer) -> Int {
        let line = String(decoding: bytes, as: UTF8.self).trimmed
        if line.hasPrefix("HTTP/") {
            // There may have been an answer before this one: a proxy's, or one that says to go on.
            answer = HTTP.Answer()
            isHeadWhole = false
            answer.status = line.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        } else if line.isEmpty {
            isHeadWhole = true
        } else if let colon = line.firstIndex(of: ":") {
            answer.headers[line[..<colon].lowercased()] = String(line[line.index(after: colon)...]).trimmed
        }
        return bytes.count
    }

    func take(_ bytes: UnsafeRawBufferPointer) -> Int {
        do {
            if let receive, answer.status == 200 || answer.status == 206 {
                // The time that the bytes take to be passed on is not the server's.
                let start = monotonicSeconds()
                defer { lastMove += monotonicSeconds() - start }
                try receive(answer, bytes)
            } else {
                answer.body.append(contentsOf: bytes.prefix(limit - answer.body.count))
                hasEnough = answer.body.count == limit
                if hasEnough { return 0 }
            }
        } catch {
            failure = error
            return 0
        }
        return bytes.count
    }

    // MARK: The time it takes

    /// Called about once a second, and whenever something moved; anything but 0 ends the transfer.
    func moved(down: Int, up: Int) -> Int32 {
        // libcurl counts from zero again where it begins again.
        let count = max(0, down + up - lastCount)
        lastCount = down + up
        let now = monotonicSeconds()
        lastMove = min(now, lastMove + Double(count) / Transfer.slowest)
        hasStalled = now - lastMove > stall
        return hasStalled ? 1 : 0
    }
}

extension String {
    fileprivate var trimmed: String {
        func isSpace(_ character: Character) -> Bool { character.isWhitespace || character.isNewline }
        let front = drop(while: isSpace)
        return String(front.reversed().drop(while: isSpace).reversed())
    }
}
