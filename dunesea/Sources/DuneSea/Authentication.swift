import DuneSeaProtocol
import HTTPTypes
import Hummingbird
import Plumbing
import StoreFormat

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
        let tokenCache = tokenCache
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
