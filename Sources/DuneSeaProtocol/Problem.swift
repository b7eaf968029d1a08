public import JSON
public import Plumbing

/// The body of a refusal, RFC 9457: what went wrong on the server, and where it has one, the failure that a client ends in.
///
/// ```
/// {"title":"Insufficient Storage","status":507,"detail":"the store's disk is full: no space left on device",
///  "place":"dunesea/uploads/pod/4f…","hint":"the operator can free some space","exit":74}
/// ```
/// `title` and `status` are HTTP's; `place`, `hint` and `exit` are there where they say something.
public struct Problem: Equatable, Sendable {
    public static let mediaType = "application/problem+json"
    /// The most bytes of one that a client reads.
    public static let longest = 4096

    public let status: Int
    /// What happened, a clause as in `Failure`.
    public let detail: String
    /// Where, below the server's directory.
    public let place: String?
    public let hint: String?
    /// The status that a client ends in, of the table in `escapepod(7)`, where the server knows better than the answer's own.
    public let exit: ExitStatus?

    public init(
        _ status: Status, _ detail: String, at place: String? = nil, hint: String? = nil,
        exit: ExitStatus? = nil
    ) {
        self.status = status.rawValue
        self.detail = detail
        self.place = place
        self.hint = hint
        self.exit = exit
    }

    /// What an answer's body says; nil where it is nobody's that we know, such as a proxy's.
    ///
    /// - Parameter status: the answer's own, whatever the body says.
    public init?(parsing body: [UInt8], status: Int) {
        guard body.count <= Problem.longest, let json = try? JSON(parsing: body, at: "answer"),
            case .string(let detail)? = json["detail"]
        else { return nil }
        func text(_ name: String) -> String? {
            guard case .string(let text)? = json[name] else { return nil }
            return String(text.prefix(Problem.longestText))
        }
        self.status = status
        self.detail = String(detail.prefix(Problem.longestText))
        place = text("place")
        hint = text("hint")
        guard case .integer(let code)? = json["exit"] else {
            exit = nil
            return
        }
        // That all is well is nothing that a refusal can say.
        exit = Int32(exactly: code).flatMap(ExitStatus.init(rawValue:)).flatMap { $0 == .done ? nil : $0 }
    }

    /// In characters; a client's messages stay readable whoever answers.
    private static let longestText = 500

    /// HTTP's words for the status.
    public var title: String { Status(rawValue: status)?.reason ?? "Error" }

    public var json: JSON {
        var members: [JSON.Member] = [
            .init("title", .string(title)),
            .init("status", .integer(Int64(status))), .init("detail", .string(detail)),
        ]
        if let place { members.append(.init("place", .string(place))) }
        if let hint { members.append(.init("hint", .string(hint))) }
        if let exit { members.append(.init("exit", .integer(Int64(exit.rawValue)))) }
        return .object(members)
    }
}
