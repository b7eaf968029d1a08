import DuneSeaProtocol
import Glibc
public import HTTPTypes
import Plumbing

/// What the server answers instead: the problem that it has with a request, and fields that go with it.
public struct Refusal: Error {
    let problem: Problem
    let headers: HTTPFields

    init(_ problem: Problem, headers: HTTPFields = [:]) {
        self.problem = problem
        self.headers = headers
    }

    init(_ status: Status, _ what: String, hint: String? = nil, headers: HTTPFields = [:]) {
        self.init(Problem(status, what, hint: hint), headers: headers)
    }

    public var status: HTTPResponse.Status { .init(code: problem.status, reasonPhrase: problem.title) }

    /// Has what a check says of a client's bytes be a refusal; what the disk says stays the disk's.
    static func unlessWhole(_ check: () throws -> Void) throws {
        do { try check() } catch let failure as Failure where failure.status == .badData {
            throw Refusal(.unprocessableContent, failure.what, hint: failure.hint)
        }
    }

    /// What a client hears of a failure of the server's own. Of one that is no disk's only the log says more.
    init(_ failure: Failure, on ground: Ground) {
        guard let code = failure.code else {
            self.init(.internalServerError, "internal error", hint: "see the server's log")
            return
        }
        let isFull = code == ENOSPC || code == EDQUOT
        self.init(
            Problem(
                isFull ? .insufficientStorage : .internalServerError,
                "the store's disk \(isFull ? "is full" : "failed"): \(failure.what)",
                at: failure.place.map(ground.relative),
                hint: isFull ? "the operator can free some space" : "see the server's log", exit: .io))
    }
}

extension HTTPResponse.Status {
    init(_ status: Status) { self.init(code: status.rawValue, reasonPhrase: status.reason) }
}

extension HTTPField.Name {
    // Each is a token, RFC 9110, 5.1.
    static let uploadOffset = Self(Field.uploadOffset.rawValue)!
    static let uploadProgress = Self(Field.uploadProgress.rawValue)!
    static let duneSea = Self(Field.duneSea.rawValue)!
    static let backupBlob = Self(Field.backupBlob.rawValue)!
}
