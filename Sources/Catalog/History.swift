public import Plumbing

/// A domain's backups as a store shows them, oldest first, from the lines that `ep-unseal` makes of a series:
/// `escapepod-metadata(5)`.
public struct History: Sendable {
    /// What the store has of one backup's document.
    public struct Entry: Sendable {
        /// The blob, by the store's word: a SHA-256.
        public let blob: String
        public let content: Content
        /// What its document names, where it is a machine's own.
        public let members: [NamedBackup]?

        init(blob: String, content: Content, members: [NamedBackup]? = nil) {
            self.blob = blob
            self.content = content
            self.members = members
        }
    }

    public enum Content: Sendable {
        /// - isLinked: whether it was made on the document in front of it; also where that is not there to tell.
        /// - base: what it builds on; nil for a full one.
        case backup(Backup, previousGeneration: Int64, isLinked: Bool, base: Base?)
        case damaged
        case unreadable
    }

    /// The backup that another one builds on.
    public struct Base: Sendable {
        public let generation: Int64
        /// Its entry, which comes earlier; nil where the history has none of that generation, or another backup.
        public let index: Int?
        /// Whether that is because there is another one.
        public let isAnother: Bool
    }

    public let domain: String
    public let entries: [Entry]
    /// The prunings that took away blobs which have not been recovered since, by blob.
    public let pruned: [String: Pruning]
    /// The records of prunings that do not open, or are none, by their SHA-256.
    public let damagedPrunings: [String]
    /// The newest document; nil where that one is damaged or cannot be read.
    public let head: Document?

    /// Reads all the lines.
    ///
    /// Memory is some hundred bytes for each backup, and for each that one names.
    ///
    /// - Parameter complain: hears why a document is called damaged.
    /// - Throws: `badData` for what are no such lines, or where the last one is missing.
    public init(
        of domain: String, from input: borrowing Descriptor, complain: (Failure) -> Void
    ) throws {
        var (entries, before): ([Entry], Document?) = ([], nil)
        var places: [Int64: Int] = [:]
        var (pruned, damagedPrunings): ([String: Pruning], [String]) = ([:], [])
        try History.walk(input) { blob, line, place in
            if case .pruning(let text) = line {
                do {
                    let pruning = try Pruning(parsing: text, at: place)
                    guard pruning.domain == domain else {
                        throw Failure(
                            .badData, "it belongs to \(pruning.domain), not to \(domain)", at: place)
                    }
                    for item in pruning.pruned { pruned[item.sha256] = pruning }
                    for item in pruning.recovered { pruned[item.sha256] = nil }
                } catch let failure as Failure where failure.status == .badData {
                    // Who could not open it has said so.
                    if text != Array("damaged".utf8) { complain(failure) }
                    damagedPrunings.append(blob)
                }
                return
            }
            guard case .text(let text) = line else {
                entries.append(Entry(blob: blob, content: line == .damaged ? .damaged : .unreadable))
                before = nil
                return
            }
            do {
                let document = try Document(parsing: text, at: place)
                let backup = document.metadata.backup
                guard backup.domain == domain, backup.sha256 == blob else {
                    throw Failure(
                        .badData, "the store returned the metadata of a backup other than \(blob)", at: place,
                        hint: "the store was mixed up or tampered with")
                }
                let isLinked = isMade(document, on: before, at: place, complain)
                let base = document.metadata.parent.map { parent in
                    let index = places[parent.generation]
                    let isIt = index.map { entries[$0].backup == parent } ?? false
                    // One complaint is enough.
                    if index != nil, !isIt, isLinked {
                        complain(parent.contradiction(in: backup.generation, at: place))
                    }
                    return Base(
                        generation: parent.generation, index: isIt ? index : nil,
                        isAnother: index != nil && !isIt)
                }
                let content = Content.backup(
                    backup, previousGeneration: document.metadata.previous?.generation ?? 0,
                    isLinked: isLinked, base: base)
                places[backup.generation] = entries.count
                entries.append(Entry(blob: blob, content: content, members: document.metadata.members))
                before = document
            } catch let failure as Failure where failure.status == .badData {
                complain(failure)
                entries.append(Entry(blob: blob, content: .damaged))
                before = nil
            }
        }
        self.domain = domain
        self.entries = entries
        self.pruned = pruned
        self.damagedPrunings = damagedPrunings
        head = before
    }

    public func isPruned(_ backup: Backup) -> Bool { pruned[backup.sha256] != nil }

    enum Line: Equatable {
        case text([UInt8])
        case pruning([UInt8])
        case damaged
        case unreadable
    }

    /// Calls with each line but the last, which says that all have come.
    static func walk(
        _ input: borrowing Descriptor, _ visit: (_ blob: String, Line, _ place: String) throws -> Void
    ) throws {
        var (count, isWhole) = (0, false)
        try input.lines(upTo: addressLength + 1 + Document.maximumLength + 1) { line, number in
            let place = "\(input.name), line \(number)"
            guard !isWhole, line.last == UInt8(ascii: "\n") else { throw broken(at: place) }
            if line == Array("end \(count)\n".utf8) {
                isWhole = true
                return
            }
            let blob = String(decoding: line.prefix(addressLength), as: UTF8.self)
            let rest = line.dropFirst(addressLength).dropLast()
            guard blob.isHex(bytes: 32), rest.first == UInt8(ascii: " ") else { throw broken(at: place) }
            count += 1
            let text = Array(rest.dropFirst())
            switch text {
            case Array("damaged".utf8): try visit(blob, .damaged, place)
            case Array("unreadable".utf8): try visit(blob, .unreadable, place)
            case _ where text.starts(with: Array("pruning ".utf8)):
                try visit(blob, .pruning(Array(text.dropFirst(8))), "the pruning \(blob)")
            default: try visit(blob, .text(text), "the metadata of blob \(blob)")
            }
        }
        guard isWhole else { throw broken(at: input.name) }
    }

    private static let addressLength = 64

    private static func broken(at place: String) -> Failure {
        Failure(
            .badData, "not a complete history", at: place,
            hint: "ep-fetch history … | ep-unseal --kind metadata … makes one; see their messages")
    }
}

/// Whether it was made on the one before, where that is the one that it names.
private func isMade(
    _ document: Document, on before: Document?, at place: String, _ complain: (Failure) -> Void
) -> Bool {
    guard let before else { return true }
    // One that is missing in between is another matter, and an audit's to tell.
    guard document.metadata.previous?.generation ?? 0 <= before.metadata.backup.generation else {
        return false
    }
    do {
        try document.requireMade(on: before, at: place)
        return true
    } catch {
        if let failure = error as? Failure { complain(failure) }
        return false
    }
}

extension History.Entry {
    /// nil where the document is damaged or cannot be read.
    public var backup: Backup? {
        if case .backup(let backup, _, _, _) = content { return backup }
        return nil
    }

    /// What it builds on; nil for a full one, and where the document is damaged or cannot be read.
    public var base: History.Base? {
        if case .backup(_, _, _, let base) = content { return base }
        return nil
    }

    /// - Throws: `badData` or `io` where there is none.
    public func requireBackup(in store: String) throws -> Backup {
        switch content {
        case .backup(let backup, _, _, _): return backup
        case .damaged:
            throw Failure(
                .badData, "the metadata of blob \(blob) is damaged", at: store,
                hint: "escapepod verify shows what that takes down")
        case .unreadable:
            throw Failure(.io, "the metadata of blob \(blob) cannot be read", at: store)
        }
    }
}
