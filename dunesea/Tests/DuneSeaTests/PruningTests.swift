import DurableFiles
import Envelope
import Glibc
import Plumbing
import StoreFormat
import Testing

@testable import DuneSea

/// What may go from a domain: decided by what the server itself noted.
@Suite struct PruningTests {
    let place: Place

    init() throws { place = try Place() }

    private static let day: Int64 = 86400

    private var records: String { "\(place.directory)/dunesea/domains/\(pod)/received" }

    /// Backups of a hundred bytes each and more, by the number of the one that each builds on; 0 for a full one.
    private func store(_ parents: [Int]) async throws -> [Address] {
        let shelf = try place.open().shelf(pod)
        var blobs: [Address] = []
        for (index, parent) in parents.enumerated() {
            let blob = try await shelf.store(sealed(.blob, 100, filler: UInt8(index)))
            _ = try await shelf.advance(
                to: blob, following: blobs.last, buildingOn: parent > 0 ? blobs[parent - 1] : nil,
                document: sealed(.metadata, 300))
            blobs.append(blob)
        }
        return blobs
    }

    /// As if each had come in so many days ago.
    private func receive(daysAgo days: [Int64]) throws {
        let file = try opened(records, O_RDWR)
        let text = String(decoding: try file.read(at: 0, count: 1 << 20), as: UTF8.self)
        let lines = zip(text.split(separator: "\n"), days).map { line, days in
            let words = line.split(separator: " ")
            return "\(words[0]) \(words[1]) \(Int64(time(nil)) - days * PruningTests.day)\n"
        }
        #expect(ftruncate(file.number, 0) == 0)
        try Array(lines.joined().utf8).withUnsafeBytes { try file.write($0, at: 0) }
    }

    private func holdings() throws -> Holdings {
        try Holdings(in: Folders(of: pod, in: Places(in: place.directory)))
    }

    /// The numbers of those that are held for 30 days.
    private func held(of blobs: [Address]) throws -> [Int] {
        let held = try holdings().held(for: 30 * PruningTests.day)
        return blobs.indices.filter { held.contains(blobs[$0]) }.map { $0 + 1 }
    }

    @Test func whatIsYoungIsHeldWithAllThatItBuildsOn() async throws {
        let blobs = try await store([0, 1, 2, 1, 4, 0, 0, 7])
        try receive(daysAgo: [90, 80, 70, 60, 20, 50, 45, 40])
        // What came in behind another one is no older than that: 5 makes 6, 7 and 8 young.
        #expect(try held(of: blobs) == [1, 4, 5, 6, 7, 8])
        try receive(daysAgo: [90, 80, 70, 60, 50, 40, 36, 35])
        #expect(try held(of: blobs) == [7, 8])
        // The clock went back meanwhile: all came in later than now.
        try receive(daysAgo: [-90, -80, -70, -60, -50, -40, -30, -20])
        #expect(try held(of: blobs) == [1, 2, 3, 4, 5, 6, 7, 8])
        try receive(daysAgo: [9000, 9000, 9000, 9000, 9000, 9000, 9000, 9000])
        #expect(try held(of: blobs) == [7, 8])
    }

    @Test func whatIsNotKnownCountsAsNeeded() async throws {
        let blobs = try await store([0, 0, 0])
        try receive(daysAgo: [90, 80, 70])
        #expect(try held(of: blobs) == [3])
        // Without the line of the third.
        let file = try opened(records, O_RDWR)
        let length = try file.length()
        #expect(ftruncate(file.number, off_t(length / 3 * 2)) == 0)
        #expect(try held(of: blobs) == [2, 3])
        #expect(unlink(records) == 0)
        #expect(try held(of: blobs) == [1, 2, 3])
    }

    @Test func blobsOfNoBackupAreHeldForTheirOwnAge() async throws {
        let shelf = try place.open().shelf(pod)
        let blob = try await shelf.store(sealed(.blob, 100))
        #expect(try held(of: [blob]) == [1])
        for time in [Int.min, -1, 0, Int(time(nil)) - 31 * 86400] {
            let times = [timespec](repeating: timespec(tv_sec: time, tv_nsec: 0), count: 2)
            #expect(utimensat(AT_FDCWD, "\(place.blobs)/\(blob)", times, 0) == 0)
            #expect(try held(of: [blob]) == [])
        }
    }

    @Test(arguments: [(1, 1), (25, 1), (34, 2), (50, 3), (99, 5), (100, 6)])
    func aShareGoesInADay(percent: UInt64, most: Int) async throws {
        let blobs = try await store([0, 0, 0, 0, 0, 0, 0])
        try receive(daysAgo: [90, 90, 90, 90, 90, 90, 90])
        var limits = Limits()
        limits.pruning.share = percent
        let shelf = try place.open(limits).shelf(pod)
        let used = shelf.used
        // The seventh is the newest.
        #expect(try await shelf.discard(blobs + blobs) == 7 - most)
        #expect(try await shelf.discard(blobs) == 7 - most)
        #expect(
            try await shelf.list().filter { $0.state == .trash }.map(\.address).sorted { $0.hex < $1.hex }
                == blobs.prefix(most).sorted { $0.hex < $1.hex })
        #expect(shelf.used == used)
        // Back, and again: that is no second share.
        try await shelf.recover(blobs)
        #expect(try await shelf.discard(blobs.reversed()) == 7 - most)
    }

    @Test func whatIsInTheTrashCountsUntilItIsGone() async throws {
        let blobs = try await store([0, 0, 0])
        try receive(daysAgo: [90, 90, 90])
        var limits = Limits()
        limits.pruning.share = 100
        let store = try place.open(limits)
        let shelf = store.shelf(pod)
        let used = shelf.used
        _ = try await shelf.discard([blobs[0]])
        // The same bytes again, and then both in one place.
        _ = try await shelf.store(sealed(.blob, 100, filler: 0))
        let size = try #require(try await shelf.size(ofBlob: blobs[0]))
        #expect(shelf.used == used + size)
        _ = try await shelf.discard([blobs[0]])
        #expect(shelf.used == used)
        try await store.removeStale { Issue.record($0) }
        #expect(shelf.used == used)
        let times = [timespec](repeating: timespec(tv_sec: time(nil) - 8 * 86400, tv_nsec: 0), count: 2)
        #expect(
            utimensat(AT_FDCWD, "\(place.directory)/escapepod/\(pod)/trash/\(blobs[0])", times, 0) == 0)
        try await store.removeStale { Issue.record($0) }
        #expect(shelf.used == used - size)
        #expect(
            await refusal {
                _ = try await shelf.advance(
                    to: shelf.store(sealed(.blob, 9)), following: blobs[2], buildingOn: blobs[0],
                    document: sealed(.metadata, 300))
            } == 424)
    }
}
