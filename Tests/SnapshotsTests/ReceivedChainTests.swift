import Glibc
import Plumbing
import Testing

@testable import Snapshots

@Suite(.enabled(if: geteuid() == 0))
struct ReceivedChainTests {
    /// Of so many backups: their names are their places.
    private func chain(_ count: Int) -> [ReceivedChain.Backup] {
        (0..<count).map {
            .init(name: "\($0)", size: "1", received: "00000000-0000-0000-0000-0000000000a\($0)")
        }
    }

    /// As a run receives them: each of these, and at the end what is of no use any more is gone.
    private func receive(_ lacking: ReceivedChain.Lacking, in scratch: borrowing Scratch) throws {
        try Subvolume.make(lacking.backup.name, in: scratch.directory)
        let last = try #require(lacking.backup.received.last?.wholeNumberValue)
        let received = [UInt8](repeating: 0, count: 15) + [0xa0 | UInt8(last)]
        try Subvolume(lacking.backup.name, in: scratch.directory).seal(received: received, transaction: 7)
        if let spare = lacking.spare { try scratch.delete(spare) }
    }

    @Test(arguments: 1...5, 0...5)
    func killedAnywhereItGoesOnBehindWhatIsThere(of count: Int, after done: Int) throws {
        let system = try FileSystem()
        let scratch = try Scratch.findOrMake(in: "/dev/fd/\(system.root.number)", for: "a test")
        let chain = chain(count)
        let first = try ReceivedChain.resume(chain, in: scratch)
        #expect(first.map(\.backup) == chain)
        #expect(first.map(\.parent) == [nil] + chain.dropLast().map(\.name))
        for lacking in first.prefix(done) {
            try receive(lacking, in: scratch)
            // Killed between the last one and its sweep, too.
            if let spare = lacking.spare, lacking == first.prefix(done).last {
                try Subvolume.make(spare, in: scratch.directory)
            }
        }
        // And in the middle of the next.
        if done < count { try Subvolume.make("\(done)", in: scratch.directory) }
        let rest = try ReceivedChain.resume(chain, in: scratch)
        #expect(rest == Array(first.dropFirst(done)))
        if done < count { try scratch.delete("\(done)") }
        for lacking in rest { try receive(lacking, in: scratch) }
        // The full one and the newest two, and nothing else.
        let kept = Set(["0", "\(count - 1)", "\(max(count - 2, 0))"])
        #expect(try Set(scratch.directory.names()) == kept)
        #expect(Set(ReceivedChain.slots(chain).map(\.name)) == kept)
        #expect(
            ReceivedChain.slots(chain).map(\.slot)
                == Array([Slot.root, .currentParent, .lastParent].prefix(count)))
    }

    @Test func withoutTheFullOneItBeginsAnew() throws {
        let system = try FileSystem()
        let scratch = try Scratch.findOrMake(in: "/dev/fd/\(system.root.number)", for: "a test")
        let chain = chain(3)
        for lacking in try ReceivedChain.resume(chain, in: scratch) { try receive(lacking, in: scratch) }
        try scratch.delete("0")
        #expect(try ReceivedChain.resume(chain, in: scratch).map(\.backup) == chain)
        // Of another backup than that.
        var other = chain
        other[2] = .init(name: "2", size: "1", received: "00000000-0000-0000-0000-0000000000b2")
        #expect(try ReceivedChain.resume(other, in: scratch).map(\.backup.name) == ["0", "1", "2"])
    }
}
