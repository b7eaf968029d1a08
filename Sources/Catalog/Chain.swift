import Plumbing

/// Checks documents, oldest first, against the ones before them. Holds one document, however long the chain.
public struct Chain {
    private let domain: String?
    private var last: Document?

    /// - Parameter domain: the one that every document must be of; nil takes the first document's.
    public init(domain: String?) {
        self.domain = domain
    }

    /// Takes the next document.
    ///
    /// - Throws: `badData`: of another domain, out of turn, or not made on the document before it.
    public mutating func append(_ document: Document, at place: String) throws {
        func refuse(_ what: String, hint: String? = nil) -> Failure {
            Failure(.badData, what, at: place, hint: hint)
        }
        let metadata = document.metadata
        let backup = metadata.backup
        if let domain = domain ?? last?.metadata.backup.domain, backup.domain != domain {
            throw refuse("the document is of \(backup.domain), not of \(domain)")
        }
        if let last {
            let before = last.metadata.backup
            guard metadata.previous?.generation == before.generation else {
                throw refuse(
                    "generation \(backup.generation) follows generation \(before.generation)",
                    hint: "documents come one a line, oldest first, none left out")
            }
            guard metadata.previous?.names(last) == true else {
                throw refuse(
                    "generation \(backup.generation) was not made on this generation \(before.generation): "
                        + "its previous.metadataSha512 is another",
                    hint: "one of the two was changed or replaced")
            }
            guard metadata.parent == nil || metadata.parent == before else {
                throw refuse(
                    "the parent in generation \(backup.generation) is not what generation "
                        + "\(before.generation) says of itself",
                    hint: "one of the two was changed or replaced")
            }
        }
        last = document
    }
}
