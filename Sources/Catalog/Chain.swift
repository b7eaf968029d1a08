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
        let backup = document.metadata.backup
        if let domain = domain ?? last?.metadata.backup.domain, backup.domain != domain {
            throw Failure(.badData, "the document belongs to \(backup.domain), not to \(domain)", at: place)
        }
        if let last { try document.requireMade(on: last, at: place) }
        last = document
    }
}

extension Document {
    /// - Throws: `badData` where it was not made on that document, as the very next one.
    func requireMade(on before: Document, at place: String) throws {
        let (generation, base) = (metadata.backup.generation, before.metadata.backup)
        func refuse(_ what: String, hint: String) -> Failure {
            Failure(.badData, what, at: place, hint: hint)
        }
        guard metadata.previous?.generation == base.generation else {
            throw refuse(
                "generation \(generation) follows generation \(base.generation)",
                hint: "give one document per line, oldest first, with none left out")
        }
        guard metadata.previous?.names(before) == true else {
            throw refuse(
                "generation \(generation) was not made on this generation \(base.generation): "
                    + "its previous.metadataSha512 differs",
                hint: "one of the two was changed or replaced")
        }
        guard metadata.parent == nil || metadata.parent == base else {
            throw refuse(
                "the parent in generation \(generation) does not match generation \(base.generation)",
                hint: "one of the two was changed or replaced")
        }
    }
}
