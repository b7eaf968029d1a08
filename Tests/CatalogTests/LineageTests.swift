import JSON
import Plumbing
import Testing

@testable import Catalog

/// A store's documents against the witness: generations 1 to 5, and another 3 to 5 made on the same 2.
@Suite struct Lineages {
    let ours: [JSON]
    let theirs: [JSON]

    init() throws {
        let shared = [try Sample.first(), try Sample.second()]
        ours = try (3...5).reduce(into: shared) { $0.append(try Sample.next($1, on: $0[$0.count - 1])) }
        theirs = try (3...5).reduce(into: shared) {
            $0.append(try Sample.next($1, on: $0[$0.count - 1]).with(["size"], 777))
        }
    }

    @Test func theWitnessOrWhatWasMadeOnIt() throws {
        for (documents, witness) in [
            ([], nil), ([ours[2]], nil), ([ours[2]], ours[2]), ([ours[3]], ours[2]),
            // Further on: the documents in between show it, with or without those up to the witness.
            (ours, ours[2]), (Array(ours[2...]), ours[2]), (Array(ours[3...]), ours[2]), (ours, ours[0]),
        ] {
            let plan = try Sample.plan(documents, witness: witness)
            #expect(plan.warning == nil)
            let head = try documents.last.map(Sample.document)
            #expect(plan.generation == (head?.metadata.backup.generation ?? 0) + 1)
        }
    }

    @Test func anOlderHead() throws {
        let plan = try Sample.plan([ours[1]], [Sample.snapshot("last-parent", uuid(2))], witness: ours[3])
        #expect(
            plan.warning
                == "rollback: the store's newest backup is generation 2 of 2026-11-22T06:10:00Z, older than "
                + "generation 4 of 2026-11-24T06:10:00Z, which this machine committed")
        #expect(plan.type == .incremental && plan.generation == 5 && plan.parent?.generation == 2)
        #expect(
            try Sample.plan([ours[1]], [Sample.snapshot("root", uuid(4))], witness: ours[3]).type == .full)
        #expect(plan.previous?.names(try Sample.document(ours[1])) == true)
        #expect(plan.lines.hasSuffix("\nrollback: \(plan.warning?.dropFirst(10) ?? "")\n"))
        #expect(try Plan(plan.json, at: "test").warning == plan.warning)
    }

    @Test func aStoreThatIsEmpty() throws {
        let plan = try Sample.plan([], [Sample.snapshot("root", uuid(4))], witness: ours[3])
        #expect(
            plan.warning
                == "rollback: the store has no backup of pod.example.org, not even "
                + "generation 4 of 2026-11-24T06:10:00Z, which this machine committed")
        #expect(plan.reason == "no backup of pod.example.org in the store")
        #expect(plan.type == .full && plan.generation == 5 && plan.follows == nil)
        #expect(plan.previous?.names(try Sample.document(ours[3])) == true)
    }

    @Test func anotherHistory() throws {
        for (documents, witness) in [
            // As far as the witness, one further, and two.
            ([theirs[2]], ours[2]), ([theirs[3]], ours[2]), (theirs, ours[2]), (Array(theirs[3...]), ours[2]),
            // From ours over to theirs behind the witness.
            (ours[...3] + [theirs[4]], ours[2]),
            // One that is further on than by one, and nothing in between to show for it.
            ([ours[4]], ours[2]), ([ours[2], ours[4]], ours[2]),
            // Made on an older one than the witness, which it passes over.
            ([try Sample.next(5, on: ours[1])], ours[3]),
            // The right digest under a wrong number.
            ([ours[3].with(["previous", "generation"], 2)], ours[2]),
        ] {
            let plan = try Sample.plan(documents, witness: witness)
            let head = try Sample.document(try #require(documents.last))
            let (generation, date) = (head.metadata.backup.generation, head.metadata.backup.date)
            #expect(
                plan.warning
                    == "fork: the store's newest backup is generation \(generation) of \(date), which does not descend "
                    + "from generation \(witness["generation"] ?? 0) of "
                    + "2026-11-2\(witness["generation"] ?? 0)T06:10:00Z, which this machine committed")
            #expect(plan.generation == generation + 1)
            #expect(plan.previous?.names(head) == true)
        }
    }

    @Test func whatIsNoLine() throws {
        for documents in [[ours[1], ours[1]], [ours[2], ours[1]], [ours[2], theirs[2]]] {
            let failure = failure { _ = try Sample.plan(documents, witness: ours[0]) }
            #expect(failure?.status == .badData)
            #expect(failure?.hint == "give one document per line, oldest first")
        }
        let other = try Sample.first().with(["domain"], "other")
        let failure = failure { _ = try Sample.plan([], witness: other) }
        #expect(failure?.status == .badData)
        #expect(failure?.what == "the witness belongs to other, not to pod.example.org")
    }

    /// What is made on such a plan is a document, and leaves a gap that the chain takes in that place alone.
    @Test func theChainOverAGap() throws {
        func check(_ documents: [JSON]) -> String? {
            failure {
                var chain = Chain(domain: Sample.domain)
                for document in documents { try chain.append(Sample.document(document), at: "test") }
            }?.what
        }
        let gap = try Sample.next(9, on: ours[1])
        #expect(check([ours[0], ours[1], gap]) == nil)
        #expect(check([gap]) == nil)
        #expect(check([ours[0], gap]) == "generation 9 follows generation 1")
        #expect(check(ours[...2] + [gap]) == "generation 9 follows generation 3")
        #expect(check([ours[1].with(["size"], 777), gap])?.contains("metadataSha512 differs") == true)
        let incremental = try Sample.incremental(9, upon: ours[1])
        #expect(check([ours[1], incremental]) == nil)
        #expect(
            refusal(incremental.with(["parent", "generation"], 8))
                == "member parent.generation is not one before 9")
    }
}
