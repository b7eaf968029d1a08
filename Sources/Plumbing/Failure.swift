import Glibc

/// The exit statuses that every tool shares; `escapepod(7)` has the table.
public enum ExitStatus: Int32, Sendable {
    /// Done, for the whole of the input.
    case done = 0
    /// Done, but something needs a person's eye; standard error says what.
    case attention = 3
    /// No such backup.
    case notFound = 10
    case usage = 64
    /// The data is cut, corrupt, tampered with, or sealed with another key.
    case badData = 65
    /// A drive, a service or a program is not there; try later.
    case unavailable = 69
    case bug = 70
    case io = 74
    /// Someone else was faster, or holds the lock; run again.
    case busy = 75
    case denied = 77
}

/// The one error type: what happened, where, what to do about it, and the exit status it ends in.
///
/// `what`, `place` and `hint` are single clauses without a capital or a full stop, and never hold key material.
public struct Failure: Error, Equatable {
    public let status: ExitStatus
    public let what: String
    /// A path, a URL, an offset; nil where there is no place to name.
    public let place: String?
    public let hint: String?
    /// Of the system call that failed; nil where none did.
    public let code: Int32?

    public init(_ status: ExitStatus, _ what: String, at place: String? = nil, hint: String? = nil) {
        self.init(status, what, at: place, hint: hint, code: nil)
    }

    public init(_ status: ExitStatus, _ what: String, at place: String?, hint: String?, code: Int32?) {
        self.status = status
        self.what = what
        self.place = place
        self.hint = hint
        self.code = code
    }

    /// The failure of a system call: `errno` decides the status (permission 77, everything else 74) and ends the clause.
    ///
    /// - Parameter code: the error number, for the calls that return it; nil reads `errno`.
    public static func system(
        _ what: String, at place: String?, errno code: Int32? = nil, hint: String? = nil
    )
        -> Failure
    {
        let code = code ?? errno
        let status: ExitStatus =
            switch code {
            case EACCES, EPERM, EROFS: .denied
            default: .io
            }
        return Failure(
            status, "\(what): \(reason(code))", at: place, hint: hint ?? advice(code), code: code)
    }

    private static func reason(_ code: Int32) -> String {
        // glibc's messages start with a capital; ours do not.
        let text = String(cString: strerror(code))
        return text.prefix(1).lowercased() + text.dropFirst()
    }

    private static func advice(_ code: Int32) -> String? {
        switch code {
        case ENOSPC, EDQUOT: "free some space there, then run it again"
        case EROFS: "the file system is mounted read-only"
        default: nil
        }
    }
}

extension Failure {
    /// The lines that a person reads, each with the tool's name in front, without a final newline. Whatever foreign names
    /// they carry, a terminal may show them.
    public func message(from tool: String) -> String {
        var lines = "\(tool): \(printable(what))"
        if let place { lines += ": \(printable(place))" }
        if let hint { lines += "\n\(tool): hint: \(printable(hint))" }
        return lines
    }
}
