public import HTTPTypes
import Plumbing

/// What the server answers instead: a status, a line for people, and where there is something to do, a hint.
public struct Refusal: Error {
    public let status: HTTPResponse.Status
    public let what: String
    public let hint: String?
    public let headers: HTTPFields

    init(_ status: HTTPResponse.Status, _ what: String, hint: String? = nil, headers: HTTPFields = [:]) {
        self.status = status
        self.what = what
        self.hint = hint
        self.headers = headers
    }

    /// Bytes that are not what they have to be.
    init(_ failure: Failure) {
        self.init(.unprocessableContent, failure.what, hint: failure.hint)
    }

    /// The body of the answer.
    public var text: String { hint.map { "\(what)\nhint: \($0)\n" } ?? "\(what)\n" }
}

extension HTTPResponse.Status {
    static let failedDependency = Self(code: 424, reasonPhrase: "Failed Dependency")
    static let insufficientStorage = Self(code: 507, reasonPhrase: "Insufficient Storage")
}

extension HTTPField.Name {
    /// How many bytes of an upload the server has.
    static let uploadOffset = Self("Upload-Offset")!
    /// Whether an upload is acknowledged in the middle of a request too.
    static let uploadProgress = Self("Upload-Progress")!
    static let duneSea = Self("DuneSea")!
    /// The address of the blob that a metadata document belongs to, since the document is sealed.
    static let backupBlob = Self("Backup-Blob")!
}
