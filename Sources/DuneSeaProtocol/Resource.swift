public import StoreFormat

/// What a request is about, below `/v1/DOMAIN/`. Nothing in a path is percent-decoded, as no valid one needs it.
///
/// The names are as they came: whoever asks may do so before it is known whether they are addresses.
public enum Resource: Equatable, Sendable {
    /// Where an upload is opened.
    case uploads
    /// By its identifier, 32 digits of lower-case hexadecimal.
    case upload(String)
    /// By its address.
    case blob(String)
    /// By its blob's address, or `last` or `history`.
    case metadata(String)
    /// By its address, or `last`.
    case key(String)
    /// All blobs: what is there, and what is to come back from the trash.
    case blobs
    /// Where blobs go on their way out.
    case trash
    /// All records of prunings, as a series.
    case prunings
    /// By its address.
    case pruning(String)
    /// How many bytes there is room for.
    case room

    /// The name of the newest document, or key.
    public static let last = "last"
    /// The name of all documents, as a series.
    public static let history = "history"

    private static let version = "v1"

    /// The parts behind the domain's; nil where there is no such thing.
    public init?(_ parts: some Sequence<Substring>) {
        let parts = parts.map(String.init)
        switch (parts.first, parts.count) {
        case ("uploads", 1): self = .uploads
        case ("uploads", 2): self = .upload(parts[1])
        case ("blobs", 2): self = .blob(parts[1])
        case ("metadata", 2): self = .metadata(parts[1])
        case ("keys", 2): self = .key(parts[1])
        case ("blobs", 1): self = .blobs
        case ("trash", 1): self = .trash
        case ("prunings", 1): self = .prunings
        case ("prunings", 2): self = .pruning(parts[1])
        case ("room", 1): self = .room
        default: return nil
        }
    }

    private var parts: [String] {
        switch self {
        case .uploads: ["uploads"]
        case .upload(let id): ["uploads", id]
        case .blob(let name): ["blobs", name]
        case .metadata(let name): ["metadata", name]
        case .key(let name): ["keys", name]
        case .blobs: ["blobs"]
        case .trash: ["trash"]
        case .prunings: ["prunings"]
        case .pruning(let name): ["prunings", name]
        case .room: ["room"]
        }
    }

    /// The path from the root.
    public func path(in domain: Domain) -> String {
        (["", Resource.version, domain.description] + parts).joined(separator: "/")
    }

    /// The path from the root, with a query.
    public func target(in domain: Domain, _ query: [(Query, String)]) -> String {
        query.isEmpty
            ? path(in: domain)
            : path(in: domain) + "?" + query.map { "\($0.rawValue)=\($1)" }.joined(separator: "&")
    }

    /// Takes a path from the root apart; nil where it is not one of this version.
    ///
    /// - Returns: the domain's name, of which nobody knows yet whether it is one, and the parts behind it.
    public static func split(_ path: String) -> (domain: Substring, rest: ArraySlice<Substring>)? {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count >= 4, parts[0].isEmpty, parts[1] == version[...] else { return nil }
        return (parts[2], parts[3...])
    }
}
