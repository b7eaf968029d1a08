import Plumbing

/// Checks documents, oldest first, against the ones before them. Holds those of one chain.
public struct Chain {
    private let domain: String?
    private var last: Document?
    /// The last one, and what it builds on, the full one first.
    private var path: [Metadata] = []

    /// - Parameter domain: the one that every document must be of; nil takes the first document's.
    public init(domain: String?) {
        self.domain = domain
    }

    /// Takes the next document.
    ///
    /// - Throws: `badData`: of another domain, out of turn, not made on the document before it, or not upon one of its chain.
    public mutating func append(_ document: Document, at place: String) throws {
        let metadata = document.metadata
        if let domain = domain ?? last?.metadata.backup.domain, metadata.backup.domain != domain {
            throw Failure(
                .badData, "the document belongs to \(metadata.backup.domain), not to \(domain)", at: place)
        }
        if let last {
            try document.requireMade(on: last, at: place)
            try follow(metadata, at: place)
        }
        path.append(metadata)
        last = document
    }

    /// Goes back to what it builds on.
    private mutating func follow(_ metadata: Metadata, at place: String) throws {
        guard let parent = metadata.parent else { return path.removeAll() }
        let generation = metadata.backup.generation
        // A chain whose first documents were not given.
        guard path.first?.backup.type == .full || path[0].backup.generation <= parent.generation else {
            return
        }
        guard let index = path.lastIndex(where: { $0.backup.generation == parent.generation }) else {
            throw Failure(
                .badData,
                "generation \(generation) builds on generation \(parent.generation), which is not of its chain",
                at: place, hint: "one of the two was changed or replaced")
        }
        guard path[index].backup == parent else { throw parent.contradiction(in: generation, at: place) }
        guard metadata.ancestry == Ancestry(upon: path[index]) else {
            throw Failure(
                .badData,
                "the chain in generation \(generation) does not match generation \(parent.generation)",
                at: place, hint: "one of the two was changed or replaced")
        }
        path.removeSubrange((index + 1)...)
    }
}

extension Backup {
    /// For a parent that is not what its own document says.
    func contradiction(in generation: Int64, at place: String) -> Failure {
        Failure(
            .badData,
            "the parent in generation \(generation) does not match generation \(self.generation)",
            at: place, hint: "one of the two was changed or replaced")
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
    }
}
