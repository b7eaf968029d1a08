import DurableFiles
import Envelope
import Glibc
import Plumbing
import StoreFormat
import Testing

@testable import DuneSea

@Suite struct StoreTests {
    let place: Place

    init() throws { place = try Place() }

    @Test func askingMakesNothing() async throws {
        let store = try place.open()
        #expect(store.shelf(pod).last == nil)
        #expect(try names("\(place.directory)/escapepod").isEmpty)
    }

    @Test func oneServerADirectory() throws {
        let store = try place.open()
        #expect(throws: Failure.self) { try place.open() }
        withExtendedLifetime(store) {}
    }

    @Test func theHeadMovesByCompareAndSwap() async throws {
        let shelf = try place.open().shelf(pod)
        let first = try await shelf.store(sealed(.blob, 10, filler: 1))
        let second = try await shelf.store(sealed(.blob, 10, filler: 2))
        let third = try await shelf.store(sealed(.blob, 10, filler: 3))
        let missing = try address(of: [1])
        let document = sealed(.metadata, 300)

        #expect(
            await refusal {
                _ = try await shelf.advance(to: first, following: second, buildingOn: nil, document: document)
            }
                == 409)
        #expect(
            await refusal {
                _ = try await shelf.advance(to: missing, following: nil, buildingOn: nil, document: document)
            }
                == 424)
        #expect(try await shelf.advance(to: first, following: nil, buildingOn: nil, document: document))
        // A lost answer.
        #expect(
            try await shelf.advance(to: first, following: nil, buildingOn: nil, document: document) == false)
        #expect(
            await refusal {
                _ = try await shelf.advance(
                    to: first, following: nil, buildingOn: nil, document: sealed(.metadata, 301))
            } == 409)
        #expect(
            await refusal {
                _ = try await shelf.advance(to: second, following: nil, buildingOn: nil, document: document)
            }
                == 409)
        #expect(try await shelf.advance(to: second, following: first, buildingOn: nil, document: document))
        // Not twice in one history.
        #expect(
            await refusal {
                _ = try await shelf.advance(to: first, following: second, buildingOn: nil, document: document)
            }
                == 422)
        #expect(try await shelf.advance(to: third, following: second, buildingOn: nil, document: document))

        #expect(shelf.last == third)
        #expect(shelf.blobs == [first, second, third])
        #expect(shelf.has(second))
        #expect(!shelf.has(missing))
        #expect(
            try names(place.metadata) == [
                "0000000001-\(first)", "0000000002-\(second)", "0000000003-\(third)",
            ])
    }

    @Test func ofManyOneWins() async throws {
        let shelf = try place.open().shelf(pod)
        var blobs: [Address] = []
        for filler in 0..<20 { blobs.append(try await shelf.store(sealed(.blob, 10, filler: UInt8(filler)))) }
        let wins = await withTaskGroup(of: Bool.self) { group in
            for blob in blobs {
                group.addTask {
                    (try? await shelf.advance(
                        to: blob, following: nil, buildingOn: nil, document: sealed(.metadata, 10)))
                        ?? false
                }
            }
            return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        #expect(wins == 1)
        #expect(shelf.backups == 1)
    }

    @Test func theNewestKeyIsTheLast() async throws {
        var limits = Limits()
        limits.domainBytes = 400
        let keys = [sealed(.key, 32, filler: 1), sealed(.key, 32, filler: 2)]
        let addresses = try keys.map { try address(of: $0) }
        do {
            let shelf = try place.open(limits).shelf(pod)
            #expect(try await shelf.lastKey() == nil)
            #expect(try await shelf.keep(key: keys[0], of: addresses[0]))
            #expect(try await shelf.keep(key: keys[0], of: addresses[0]) == false)
            #expect(try await shelf.keep(key: keys[1], of: addresses[1]))
            #expect(await refusal { _ = try await shelf.keep(key: keys[0], of: addresses[0]) } == 507)
            #expect(shelf.used == 368)
        }
        let shelf = try place.open().shelf(pod)
        #expect(shelf.used == 368)
        #expect(try await shelf.lastKey()?.bytes == keys[1])
        #expect(try await shelf.keep(key: keys[0], of: addresses[0]))
        #expect(try await shelf.lastKey()?.address == addresses[0])
        #expect(
            try names("\(place.directory)/escapepod/\(pod)/keys") == [
                "0000000001-\(addresses[0])", "0000000002-\(addresses[1])", "0000000003-\(addresses[0])",
            ])
    }

    @Test func whatSomebodyElseWroteIsNotOverwritten() async throws {
        let shelf = try place.open().shelf(pod)
        let blob = try await shelf.store(sealed(.blob, 10))
        let path = "\(place.metadata)/0000000001-\(blob)"
        let foreign = try opened(path, O_RDWR | O_CREAT)
        try [7, 7].withUnsafeBytes { try foreign.write(.init(rebasing: $0.prefix(1)), at: 0) }
        await #expect(throws: Failure.self) {
            try await shelf.advance(
                to: blob, following: nil, buildingOn: nil, document: sealed(.metadata, 10))
        }
        #expect(try opened(path, O_RDONLY).read(at: 0, count: 10) == [7])
        #expect(shelf.backups == 0)
    }

    @Test func numbersEnd() async throws {
        let last = "9999999999-\(try address(of: [1]))"
        do { _ = try await place.open().shelf(pod).open() }
        _ = try opened("\(place.metadata)/\(last)", O_CREAT)
        let shelf = try place.open().shelf(pod)
        let blob = try await shelf.store(sealed(.blob, 10))
        #expect(
            await refusal {
                _ = try await shelf.advance(
                    to: blob, following: address(of: [1]), buildingOn: nil, document: sealed(.metadata, 10))
            } == 507)
        #expect(try names(place.metadata) == [last])
    }

    @Test func asItWasAfterARestart() async throws {
        let blob = sealed(.blob, 100_000)
        let kept = sealed(.blob, 50)
        let document = sealed(.metadata, 300)
        let id: String
        let first: Address
        do {
            let shelf = try place.open().shelf(pod)
            first = try await shelf.store(kept)
            _ = try await shelf.advance(to: first, following: nil, buildingOn: nil, document: document)
            let upload = try await shelf.open()
            try await upload.append(blob[..<70_000])
            id = upload.id
        }
        let half = try opened("\(place.unfinished)/document", O_WRONLY | O_CREAT)
        try document.dropLast(9).withUnsafeBytes { try half.write($0, at: 0) }

        let shelf = try place.open().shelf(pod)
        #expect(shelf.last == first)
        #expect(try await shelf.document(of: first) == document)
        #expect(shelf.used == UInt64(kept.count + document.count + 70_000))
        #expect(try names(place.unfinished) == [id])
        let upload = try shelf.upload(id)
        #expect(try await upload.acknowledged() == 70_000)
        try await upload.append(blob[70_000...])
        #expect(try await upload.finish(length: UInt64(blob.count), address: address(of: blob)))
        #expect(shelf.used == UInt64(kept.count + document.count + blob.count))
    }

    /// In memory: few file systems let a file be as long, or as old, as the kernel does.
    @Test func whatNoDiskHolds() async throws {
        let place = try Place(in: "/dev/shm")
        _ = try await place.open().shelf(pod).open()
        for digit in ["a", "b", "c"] {
            let path = "\(place.blobs)/\(String(repeating: digit, count: 64))"
            _ = try opened(path, O_WRONLY | O_CREAT)
            #expect(truncate(path, .max) == 0)
        }
        let upload = try #require(try names(place.unfinished).first)
        let times = [timespec(tv_sec: .min, tv_nsec: 0), timespec(tv_sec: .min, tv_nsec: 0)]
        #expect(utimensat(AT_FDCWD, "\(place.unfinished)/\(upload)", times, 0) == 0)

        let shelf = try place.open().shelf(pod)
        #expect(shelf.used == .max)
        #expect(shelf.uploads.first.map { $0.idle > 24 * 3600 } == true)
        _ = try await shelf.store(sealed(.blob, 10))
        let check = Check(directory: place.directory) { _ in }
        #expect(throws: Never.self) { try check.run() }
    }

    @Test func checkFindsWhatIsWrong() async throws {
        func faults() throws -> [String] {
            var lines: [String] = []
            let check = Check(directory: place.directory) { lines.append($0) }
            try check.run()
            #expect(check.faults == lines.count)
            return lines
        }
        let store = try place.open()
        let shelf = store.shelf(pod)
        let first = try await shelf.store(sealed(.blob, 50_000, filler: 1))
        let second = try await shelf.store(sealed(.blob, 50_000, filler: 2))
        _ = try await shelf.advance(
            to: first, following: nil, buildingOn: nil, document: sealed(.metadata, 300))
        #expect(try faults() == [])

        let file = try opened("\(place.blobs)/\(second)", O_RDWR)
        try [9].withUnsafeBytes { try file.write(.init(rebasing: $0.prefix(1)), at: 30_000) }
        #expect(try faults().count == 1)
        #expect(try faults().first?.contains(second.description) == true)
        #expect(unlink("\(place.blobs)/\(first)") == 0)
        #expect(try faults().contains { $0.hasPrefix("its blob is missing") })
    }
}
