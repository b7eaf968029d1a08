import DuneSeaProtocol
import HTTPTypes
import Hummingbird
import Plumbing
import StoreFormat

/// Who may come in.
enum Door: Sendable {
    /// Whoever has a token of the store's.
    case tokens(TokenCache)
    /// One client that somebody else has let in, for a domain or for all of them.
    case client(Domain?, Tokens.Rights)
}

extension API {
    /// Finds out what the request may do, before it learns anything else. A token that is missing, wrong or another domain's
    /// gets the same answer, whether there is such a domain or not.
    func enter(_ name: Substring, _ request: Request) async throws -> (
        name: Domain, rights: Tokens.Rights
    ) {
        guard let domain = try? Domain(name) else {
            throw Refusal(
                .badRequest, "a domain has 1 to 253 characters of a-z 0-9 . _ -, not starting with a dot")
        }
        let tokenCache: TokenCache
        switch door {
        case .tokens(let cache): tokenCache = cache
        case .client(let own, let rights):
            guard own.map({ rights.open(domain, of: $0) }) ?? true else {
                throw Refusal(
                    .forbidden, "this key does not open \(domain)",
                    hint: "dunesea ssh-key, run on the far end, makes a line for another domain")
            }
            return (domain, rights)
        }
        let tokens = try await store.ground.onDisk { try tokenCache.current() }
        let scheme = "bearer "
        guard let given = request.headers[.authorization], given.lowercased().hasPrefix(scheme),
            let rights = tokens.rights(of: String(given.dropFirst(scheme.count)), in: domain)
        else {
            throw Refusal(
                .unauthorized, "no token that opens this domain",
                hint: "send Authorization: Bearer TOKEN; dunesea token add creates one",
                headers: [.wwwAuthenticate: "Bearer"])
        }
        return (domain, rights)
    }
}
