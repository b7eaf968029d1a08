/// What DuneSea speaks, `dunesea-protocol(7)`: HTTP/1.1 with these paths, fields and statuses, and `Problem` in a refusal.
public enum DuneSeaProtocol {
    /// In every answer's field `DuneSea`.
    public static let version = "1"
    /// In a query in place of an address: there is none.
    public static let none = "none"
    /// The order of a series that starts with the newest backup.
    public static let newestFirst = "newest"
    /// Of a boolean structured field, RFC 8941.
    public static let yes = "?1"
    /// How many blobs one request moves to the trash or back, at most.
    public static let mostMoved = 10_000
    /// Whether the server is well; it needs no token.
    public static let health = "healthz"
}

/// The fields of requests and answers that are the protocol's own, or that both sides look at.
public enum Field: String, CaseIterable, Sendable {
    /// The version of the protocol: without it, it is no answer of ours.
    case duneSea = "DuneSea"
    /// How many bytes of an upload the server has.
    case uploadOffset = "Upload-Offset"
    /// Whether an upload is acknowledged in the middle of a request too.
    case uploadProgress = "Upload-Progress"
    /// The address of the blob that a metadata document belongs to, since the document is sealed.
    case backupBlob = "Backup-Blob"
    case contentLength = "Content-Length"
    case contentRange = "Content-Range"
    case eTag = "ETag"
    case range = "Range"
    case retryAfter = "Retry-After"
}

/// The parts of a query.
public enum Query: String, Sendable {
    /// The head's blob that a document follows, or `none`.
    case follows
    /// The blob of the backup that a document's one builds on, or `none`.
    case parent
    /// The backup before the first of a series.
    case after
    /// In which order a series comes: `newest` first; oldest where it is left out.
    case order
    /// Which upload is finished, and how many bytes it has.
    case upload
    case length
}

/// The statuses that mean something to a client, RFC 9110 but for 104.
public enum Status: Int, CaseIterable, Sendable {
    /// draft-ietf-httpbis-resumable-upload: how far an upload is, in the middle of the request.
    case acknowledged = 104
    case ok = 200
    case created = 201
    case noContent = 204
    case partialContent = 206
    case badRequest = 400
    case unauthorized = 401
    case forbidden = 403
    case notFound = 404
    case methodNotAllowed = 405
    case conflict = 409
    case contentTooLarge = 413
    case rangeNotSatisfiable = 416
    case unprocessableContent = 422
    /// A blob that a document needs is not there.
    case failedDependency = 424
    case tooManyRequests = 429
    case internalServerError = 500
    case serviceUnavailable = 503
    case insufficientStorage = 507

    /// RFC 9110's words for it.
    public var reason: String {
        switch self {
        case .acknowledged: "Upload Resumption Supported"
        case .ok: "OK"
        case .created: "Created"
        case .noContent: "No Content"
        case .partialContent: "Partial Content"
        case .badRequest: "Bad Request"
        case .unauthorized: "Unauthorized"
        case .forbidden: "Forbidden"
        case .notFound: "Not Found"
        case .methodNotAllowed: "Method Not Allowed"
        case .conflict: "Conflict"
        case .contentTooLarge: "Content Too Large"
        case .rangeNotSatisfiable: "Range Not Satisfiable"
        case .unprocessableContent: "Unprocessable Content"
        case .failedDependency: "Failed Dependency"
        case .tooManyRequests: "Too Many Requests"
        case .internalServerError: "Internal Server Error"
        case .serviceUnavailable: "Service Unavailable"
        case .insufficientStorage: "Insufficient Storage"
        }
    }
}
