import CCurl
import Glibc
import Plumbing
import Synchronization

/// A server that is spoken to in HTTP/1.1 through libcurl, on one connection that is kept between requests.
///
/// Requests from several threads take turns. Redirects are not followed: the token is for one server.
final class HTTP: @unchecked Sendable {
    struct Request {
        let method: String
        /// From the root, with the query.
        let path: String
        var headers: [String] = []
        var body: (any Body)?
        /// For how many seconds nothing needs to move.
        var stall: Double?
    }

    /// Whom to take for the server, where the connection has TLS.
    struct Trust {
        /// A file of certificates (PEM) that are trusted in place of the system's.
        var authority: String?
        /// The server's public key as `sha256//` and the base64 of its SHA-256; alone it takes the place of a certificate that
        /// can be verified.
        var pin: String?
    }

    struct Answer {
        var status = 0
        /// By names in lower case.
        var headers: [String: String] = [:]
        var body: [UInt8] = []
    }

    private let curl: UnsafeMutablePointer<curl_functions>
    private let handle: UnsafeMutableRawPointer
    private let turn = Mutex(())
    private let trust: Trust
    /// The seconds for which nothing needs to move on a connection.
    private let stall: Double
    private let clock: RetryClock
    private let token: String?
    private let dialer: (any Dialer)?
    private let base: String
    private let isLocal: Bool

    /// - Parameters:
    ///   - base: scheme, host and port.
    ///   - isLocal: whether the server is on this machine.
    ///   - token: nil where it needs none.
    ///   - stall: the seconds for which nothing needs to move on a connection.
    ///   - dialer: makes the connections in place of libcurl.
    init(
        _ base: String, isLocal: Bool, token: String?, trust: Trust = Trust(), stall: Double,
        clock: RetryClock = .system, dialer: (any Dialer)? = nil
    ) throws {
        var functions = curl_functions()
        guard curl_functions_load(&functions) == 0 else {
            throw Failure(
                .unavailable, "cannot load libcurl: \(dlerror().map { String(cString: $0) } ?? "")",
                at: base, hint: "install it: libcurl4 on Debian")
        }
        guard let handle = functions.easy_init() else { throw Failure(.bug, "curl_easy_init", at: base) }
        curl = .allocate(capacity: 1)
        curl.initialize(to: functions)
        self.handle = handle
        self.base = base
        self.isLocal = isLocal
        self.token = token
        self.dialer = dialer
        self.trust = trust
        self.stall = stall
        self.clock = clock
    }

    deinit {
        curl.pointee.easy_cleanup(handle)
        curl.deallocate()
    }

    /// Makes a request. The body of an answer of 200 or 206 goes to `receive`, where there is one; of every other the
    /// first `limit` bytes are kept.
    ///
    /// - Throws: `Interruption` where the connection cannot be made, breaks or stalls; what `receive` throws.
    func send(
        _ request: Request, limit: Int = 4096,
        receive: ((Answer, UnsafeRawBufferPointer) throws -> Void)? = nil
    ) throws -> Answer {
        try turn.withLock { _ in
            try withoutActuallyEscaping(receive ?? { _, _ in }) { sink in
                let transfer = Transfer(
                    request, stall: request.stall ?? stall, limit: limit, clock: clock,
                    receive: receive == nil ? nil : sink)
                return try perform(request, transfer)
            }
        }
    }

    private func perform(_ request: Request, _ transfer: Transfer) throws -> Answer {
        var lines: UnsafeMutablePointer<curl_slist>?
        defer { curl.pointee.slist_free_all(lines) }
        // A body goes on from what is known to be there: asking first whether to send it would cost a round trip.
        for line in request.headers + ["Expect:"] { lines = curl.pointee.slist_append(lines, line) }
        let message = UnsafeMutablePointer<CChar>.allocate(capacity: Int(CURL_ERROR_SIZE))
        message.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
        defer { message.deallocate() }
        // The handle outlives what it is given here, and may still close a connection.
        defer { curl.pointee.easy_reset(handle) }

        set(CURLOPT_ERRORBUFFER, message)
        set(CURLOPT_HTTPHEADER, lines)
        set(CURLOPT_NOSIGNAL, 1)
        set(CURLOPT_PROTOCOLS_STR, "http,https")
        set(CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_1_1))
        set(CURLOPT_USERAGENT, "escapepod")
        set(CURLOPT_URL, base + request.path)
        set(CURLOPT_CUSTOMREQUEST, request.method)
        set(CURLOPT_NOBODY, request.method == "HEAD" ? 1 : 0)
        if let token {
            // CURLAUTH_BEARER, a macro that Swift does not see.
            set(CURLOPT_HTTPAUTH, 1 << 6)
            set(CURLOPT_XOAUTH2_BEARER, token)
        }
        if let dialer {
            transfer.attend = dialer.attend
            set(CURLOPT_OPENSOCKETDATA, Unmanaged.passUnretained(self).toOpaque())
            curl_set_open_socket_function(curl, handle) { context, _, _ in
                context.map { Unmanaged<HTTP>.fromOpaque($0).takeUnretainedValue() }?.dialer?.socket() ?? -1
            }
        }
        set(CURLOPT_CONNECTTIMEOUT_MS, Int(stall * 1000))
        set(CURLOPT_BUFFERSIZE, 512 << 10)
        // A proxy on the way to this very machine would take the token off it.
        if isLocal { set(CURLOPT_NOPROXY, "*") }
        try setTrust()

        let context = Unmanaged.passUnretained(transfer).toOpaque()
        if let body = request.body {
            transfer.resume = { [curl, handle] in _ = curl.pointee.easy_pause(handle, CURLPAUSE_CONT) }
            set(CURLOPT_UPLOAD, 1)
            set(CURLOPT_UPLOAD_BUFFERSIZE, 256 << 10)
            curl_set_offset(curl, handle, CURLOPT_INFILESIZE_LARGE, curl_off_t(body.length ?? -1))
            set(CURLOPT_READDATA, context)
            set(CURLOPT_READFUNCTION) { bytes, size, count, context in
                Transfer.of(context).get(UnsafeMutableRawBufferPointer(start: bytes, count: size * count))
            }
            // libcurl begins again by itself where a connection that was kept turns out to be dead.
            set(CURLOPT_SEEKDATA, context)
            curl_set_seek_function(curl, handle) { context, offset, origin in
                Transfer.of(context).rewind(to: offset, from: origin)
            }
        }
        set(CURLOPT_HEADERDATA, context)
        set(CURLOPT_HEADERFUNCTION) { bytes, size, count, context in
            Transfer.of(context).header(UnsafeRawBufferPointer(start: bytes, count: size * count))
        }
        set(CURLOPT_WRITEDATA, context)
        set(CURLOPT_WRITEFUNCTION) { bytes, size, count, context in
            Transfer.of(context).put(UnsafeRawBufferPointer(start: bytes, count: size * count))
        }
        set(CURLOPT_NOPROGRESS, 0)
        set(CURLOPT_XFERINFODATA, context)
        curl_set_progress_function(curl, handle) { context, _, down, _, up in
            Transfer.of(context).moved(down: down, up: up)
        }

        let code = curl.pointee.easy_perform(handle)
        if let failure = transfer.failure { throw failure }
        if code != CURLE_OK, !transfer.hasEnough, let reason = dialer?.reason() { throw reason }
        guard code == CURLE_OK || transfer.hasEnough else {
            throw failure(
                code, String(cString: message), stalledFor: transfer.hasStalled ? transfer.stall : nil)
        }
        guard transfer.isHeadWhole else {
            throw Interruption(failure: Failure(.unavailable, "the response was cut off in its header"))
        }
        return transfer.answer
    }

    /// A pinned key alone is trust enough; else the server needs a certificate, and its name in it.
    private func setTrust() throws {
        if let authority = trust.authority {
            set(CURLOPT_CAINFO, authority)
            // libcurl would still look into the system's folder.
            set(CURLOPT_CAPATH, nil)
        }
        if let pin = trust.pin {
            guard set(CURLOPT_PINNEDPUBLICKEY, pin) == CURLE_OK else {
                throw Failure(.unavailable, "this libcurl cannot pin keys", at: base, hint: "use --ca")
            }
            if trust.authority == nil {
                set(CURLOPT_SSL_VERIFYPEER, 0)
                set(CURLOPT_SSL_VERIFYHOST, 0)
            }
        }
    }

    private func failure(_ code: CURLcode, _ detail: String, stalledFor stall: Double?) -> any Error {
        let general = curl.pointee.easy_strerror(code).map { String(cString: $0) } ?? "failed"
        let said = detail.isEmpty ? general : detail
        let isAbbreviation = said.dropFirst().first?.isUppercase == true
        let what = isAbbreviation ? said : said.prefix(1).lowercased() + said.dropFirst()
        var proxyStatus = 0
        _ = curl_get_long(curl, handle, CURLINFO_HTTP_CONNECTCODE, &proxyStatus)
        guard proxyStatus != 407 else {
            return Failure(
                .denied, "the proxy refuses the connection: \(what)", at: base,
                hint: "https_proxy can contain a name and a password: http://NAME:PASSWORD@HOST:PORT")
        }
        switch code {
        case CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_PINNEDPUBKEYNOTMATCH:
            return Failure(
                .unavailable, "the server is not trusted: \(what)", at: base,
                hint: "if it is yours, trust it with --ca or --pin")
        case CURLE_SSL_CACERT_BADFILE:
            return Failure(.io, "cannot use the certificates: \(what)", at: trust.authority ?? base)
        case CURLE_BAD_FUNCTION_ARGUMENT:
            // What libcurl says of a line in an answer's head that it cannot take apart.
            return Interruption(failure: Failure(.unavailable, "invalid response header"))
        case CURLE_OUT_OF_MEMORY, CURLE_FAILED_INIT, CURLE_UNKNOWN_OPTION, CURLE_URL_MALFORMAT,
            CURLE_NOT_BUILT_IN:
            return Failure(.bug, "libcurl: \(what)", at: base)
        default:
            return Interruption(
                failure: Failure(
                    .unavailable, stall.map { "no data for \(Int($0.rounded(.up))) s" } ?? what))
        }
    }

    // MARK: Options

    private func set(_ option: CURLoption, _ value: Int) {
        curl_set_long(curl, handle, option, value)
    }

    @discardableResult
    private func set(_ option: CURLoption, _ value: String) -> CURLcode {
        curl_set_string(curl, handle, option, value)
    }

    private func set(_ option: CURLoption, _ value: UnsafeMutableRawPointer?) {
        curl_set_pointer(curl, handle, option, value)
    }

    private func set(
        _ option: CURLoption,
        _ function: @convention(c) (UnsafeMutablePointer<CChar>?, Int, Int, UnsafeMutableRawPointer?) -> Int
    ) {
        curl_set_bytes_function(curl, handle, option, function)
    }
}

extension Settings {
    /// The seconds for which nothing needs to move on a connection.
    var stall: Double { min(30, patience / 4) }
}
