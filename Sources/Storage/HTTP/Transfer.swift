import CCurl
import Glibc
import Plumbing

/// The body of a request, as libcurl asks for it.
protocol Body: AnyObject {
    /// In bytes; nil where only its end tells.
    var length: Int? { get }

    /// Puts the next bytes into the buffer: 0 at the end, nil where there are none before the server acknowledges some.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int?

    /// Begins again from where the request began; false where it cannot.
    func rewind() -> Bool

    /// Hears in the middle of the request up to which byte the server has the upload, and says whether that is new.
    func acknowledge(_ offset: UInt64) throws -> Bool
}

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

    /// Has a body that had nothing to give go on.
    var resume: () -> Void = {}

    /// Is called often while the transfer is under way.
    var attend: () throws -> Void = {}

    private let body: (any Body)?
    private var isPaused = false
    private let limit: Int
    private let receive: ((HTTP.Answer, UnsafeRawBufferPointer) throws -> Void)?
    private let clock: RetryClock
    private var lastMove: Double
    private var lastCount = 0
    /// In bytes a second; a peer that gives a byte now and then is to stall too.
    private static let slowest = 1024.0
    /// In bytes, of all that was said in front of the body since the upload last got on.
    private var headLength = 0
    private static let longestHead = 64 << 10

    init(
        _ request: HTTP.Request, stall: Double, limit: Int, clock: RetryClock = .system,
        receive: ((HTTP.Answer, UnsafeRawBufferPointer) throws -> Void)?
    ) {
        body = request.body
        self.stall = stall
        self.clock = clock
        lastMove = clock.now()
        self.limit = limit
        self.receive = receive
    }

    static func of(_ context: UnsafeMutableRawPointer?) -> Transfer {
        guard let context else { preconditionFailure("libcurl gives back what it was given") }
        return Unmanaged<Transfer>.fromOpaque(context).takeUnretainedValue()
    }

    // MARK: The body that goes out

    func get(_ buffer: UnsafeMutableRawBufferPointer) -> Int {
        do {
            if let count = try body?.read(into: buffer) { return count }
            isPaused = true
            return Int(CURL_READFUNC_PAUSE)
        } catch {
            failure = error
            return Int(CURL_READFUNC_ABORT)
        }
    }

    func rewind(to offset: Int, from origin: Int32) -> Int32 {
        guard offset == 0, origin == SEEK_SET, body?.rewind() == true else { return CURL_SEEKFUNC_FAIL }
        return CURL_SEEKFUNC_OK
    }

    // MARK: The answer that comes in

    func header(_ bytes: UnsafeRawBufferPointer) -> Int {
        headLength += bytes.count
        guard headLength <= Transfer.longestHead else {
            failure = Interruption(failure: Failure(.unavailable, "the response header does not end"))
            return 0
        }
        let line = String(decoding: bytes, as: UTF8.self).trimmed
        if line.hasPrefix("HTTP/") {
            // There may have been an answer before this one: a proxy's, or one that says to go on.
            answer = HTTP.Answer()
            isHeadWhole = false
            answer.status = line.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        } else if line.isEmpty {
            isHeadWhole = answer.status >= 200
            if answer.status == 104, !acknowledge() { return 0 }
            // Whatever the server has said, the body may go on; after a refusal libcurl ends it.
            if isPaused {
                isPaused = false
                resume()
            }
        } else if let colon = line.firstIndex(of: ":") {
            answer.headers[line[..<colon].lowercased()] = String(line[line.index(after: colon)...]).trimmed
        }
        return bytes.count
    }

    /// 104, of draft-ietf-httpbis-resumable-upload: how far the upload got, in the middle of the request.
    private func acknowledge() -> Bool {
        guard let offset = answer.headers["upload-offset"].flatMap({ UInt64($0) }) else { return true }
        do {
            if try body?.acknowledge(offset) == true {
                lastMove = clock.now()
                headLength = 0
            }
            return true
        } catch {
            failure = error
            return false
        }
    }

    func put(_ bytes: UnsafeRawBufferPointer) -> Int {
        do {
            if let receive, answer.status == 200 || answer.status == 206 {
                // The time that the bytes take to be passed on is not the server's.
                let start = clock.now()
                defer { lastMove += clock.now() - start }
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
        do { try attend() } catch {
            failure = error
            return 1
        }
        // libcurl counts from zero again where it begins again.
        let count = max(0, down + up - lastCount)
        lastCount = down + up
        let now = clock.now()
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
