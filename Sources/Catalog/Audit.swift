public import JSON
import Plumbing

/// What is wrong with a domain's backups in a store, and what each fault takes down: the record that a verify builds up.
public struct Audit: Sendable {
    /// What can be wrong with an object.
    public enum Problem: String, Sendable, CaseIterable {
        case missing
        case damaged
        case unreadable
        case unlinked
        case forged

        fileprivate var clause: String {
            switch self {
            case .missing: "is missing"
            case .damaged: "is damaged"
            case .unreadable: "cannot be read"
            case .unlinked: "was not made on the one before"
            case .forged: "has the right digests, but cannot be opened with this key"
            }
        }
    }

    private let history: History
    /// The generation of each entry: its own, or the one that it most likely has.
    private let generations: [Int64]
    /// The members of the record that are faults, in the order in which they were found.
    public private(set) var faults: [JSON] = []
    /// The same for people, one line each.
    public private(set) var lines: [String] = []
    /// Whether the newest backup cannot be restored.
    public private(set) var headIsLost = false

    /// Checks the documents: whether each is there, whole, and made on the one before.
    ///
    /// - Parameter witness: the backup that this machine committed last, where that is known.
    public init(of history: History, witness: Backup?) {
        self.history = history
        var (generations, known): ([Int64], Int64) = ([], 0)
        var found: [(Int, Problem)?] = []
        var gaps: [Int: ClosedRange<Int64>] = [:]
        var lost: Set<Int64> = []
        for (index, entry) in history.entries.enumerated() {
            switch entry.content {
            case .damaged, .unreadable:
                known += 1
                lost.insert(known)
                if case .damaged = entry.content {
                    found.append((index, .damaged))
                } else {
                    found.append((index, .unreadable))
                }
            case .backup(let backup, let previous, let isLinked, let base):
                if previous > known { gaps[index] = known + 1...previous }
                // What builds on a damaged one goes down with that.
                let isBroken = base.map { base in
                    base.index == nil && (base.isAnother || !lost.contains(base.generation))
                }
                let isInPlace = isLinked || previous > known
                found.append(isInPlace && isBroken != true ? nil : (index, .unlinked))
                known = backup.generation
            }
            generations.append(known)
        }
        self.generations = generations
        for (index, fault) in found.enumerated() {
            if let gap = gaps[index] { lack(gap) }
            if let (index, problem) = fault { find("metadata", at: index, problem) }
        }
        for record in history.damagedPrunings {
            lines.append("the record of a pruning is damaged: \(record): its blobs count as lost")
            faults.append([
                "object": "pruning", "generation": .null, "sha256": .string(record), "problem": "damaged",
                "takesDown": [],
            ])
        }
        if let witness, witness.generation > known { lack(known + 1...witness.generation) }
    }

    /// Notes what is wrong with a blob.
    ///
    /// - Parameter blob: one of the history; others are passed over.
    public mutating func find(blob: String, _ problem: Problem) {
        guard let index = history.entries.firstIndex(where: { $0.blob == blob }) else { return }
        find("blob", at: index, problem)
    }

    /// Names the generations that it takes down: all that build on it.
    private mutating func find(_ object: String, at index: Int, _ problem: Problem) {
        let entries = history.entries
        let generation = generations[index]
        var down: [Int64] = []
        // Whatever it was made on, what it builds on may be there.
        let isWhole = entries[index].backup != nil && (entries[index].base.map { $0.index != nil } ?? true)
        if !(isWhole && problem == .unlinked) {
            var lost: Set = [generation]
            down = [generation]
            for next in entries.indices.dropFirst(index + 1) {
                guard let base = entries[next].base, lost.contains(base.generation), !base.isAnother else {
                    continue
                }
                lost.insert(generations[next])
                down.append(generations[next])
            }
            if down.last == generations.last { headIsLost = true }
        }
        let what = down.isEmpty ? "nothing" : "generation\(down.count == 1 ? "" : "s") \(spans(of: down))"
        lines.append("generation \(generation): the \(object) \(problem.clause): takes down \(what)")
        faults.append([
            "object": .string(object), "generation": .integer(generation),
            "sha256": .string(entries[index].blob), "problem": .string(problem.rawValue),
            "takesDown": .array(down.map { .integer($0) }),
        ])
    }

    /// Missing documents, whose blobs are unknown: one finding, however many there are.
    private mutating func lack(_ gap: ClosedRange<Int64>) {
        let first = gap.lowerBound
        let isOne = gap.count == 1
        lines.append(
            isOne
                ? "generation \(first): the metadata is missing: takes down generation \(first)"
                : "generations \(first) to \(gap.upperBound): the metadata is missing: takes down all of them"
        )
        var members: [JSON.Member] = [.init("object", "metadata"), .init("generation", .integer(first))]
        if !isOne { members.append(.init("through", .integer(gap.upperBound))) }
        members += [
            .init("sha256", .null), .init("problem", "missing"),
            .init("takesDown", .array(isOne ? [.integer(first)] : [])),
        ]
        faults.append(.object(members))
    }
}

/// Numbers in ascending order, for people: `2 to 4 and 7`.
func spans(of numbers: [Int64]) -> String {
    var spans: [ClosedRange<Int64>] = []
    for number in numbers {
        if let last = spans.last, last.upperBound + 1 == number {
            spans[spans.count - 1] = last.lowerBound...number
        } else {
            spans.append(number...number)
        }
    }
    let texts = spans.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound) to \($0.upperBound)" }
    return texts.count > 1
        ? "\(texts.dropLast().joined(separator: ", ")) and \(texts[texts.count - 1])" : texts.joined()
}
