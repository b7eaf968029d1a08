import Envelope
import Glibc
import OpenSSL
import Plumbing
import StoreFormat
import Testing

@testable import Storage

/// A driver that the conformance suite runs on: a name, and a way to a new empty store.
struct Subject: Sendable, CustomTestStringConvertible {
    let testDescription: String
    /// A server does so in its own time.
    var emptiesItsTrash = false
    /// Runs the body on an empty store, which goes away afterwards.
    let withEmptyStore: @Sendable (_ body: (any Store) throws -> Void) throws -> Void

    /// Every driver there is. A new one is added here, and nothing below changes.
    static let all = [
        Subject(testDescription: "directory") { body in
            let scratch = try Scratch()
            try withStore(at: StoreURL("file:\(scratch.path)"), for: .writing, body)
        },
        Subject(testDescription: "toy") { body in
            let name = UInt64.random(in: .min ... .max)
            try withStore(at: StoreURL("toy:\(name)", among: Drivers([ToyDriver.self])), for: .writing, body)
        },
        Subject(testDescription: "dunesea", emptiesItsTrash: true) { body in
            try body(
                PerDomain(on: DuneSeaServer(), domains: [Domain("pod.example.org"), Domain("other")]))
        },
        Subject(testDescription: "ssh", emptiesItsTrash: true) { body in
            let server = try SSHServer()
            defer { withExtendedLifetime(server) {} }
            try withStore(at: server.url, for: .writing, body)
        },
    ]
}

/// What the driver contract promises, seen through the protocol alone.
@Suite(.timeLimit(.minutes(5))) struct Conformance {
    let pod: Domain
    let other: Domain

    init() throws {
        pod = try Domain("pod.example.org")
        other = try Domain("other")
    }

    /// Stores a backup and returns its blob and metadata.
    @discardableResult
    private func back(up store: any Store, following head: Address?, buildingOn parent: Address? = nil)
        throws -> Backup
    {
        let blob = try store.storeBlob(of: pod, from: stream(sealed(.blob, length: 3000))).sha256
        let metadata = sealed(.metadata, length: 400)
        try store.storeMetadata(
            metadata, of: pod, for: blob, following: head, buildingOn: parent, from: "test")
        return Backup(blob: blob, metadata: metadata)
    }

    @Test(arguments: Subject.all)
    func anEmptyStoreHasNothing(_ driver: Subject) throws {
        try driver.withEmptyStore { store in
            let blob = try address([])
            #expect(status { _ = try store.lastMetadata(of: pod) } == .notFound)
            #expect(status { _ = try store.metadata(of: blob, in: pod) } == .notFound)
            #expect(status { _ = try store.list(of: pod) } == .notFound)
            #expect(try fetch(blob, of: pod, from: store).failure?.status == .notFound)
        }
    }

    @Test(arguments: Subject.all)
    func aHistoryInOneGo(_ driver: Subject) throws {
        try driver.withEmptyStore { store in
            #expect(status { try store.history(of: pod, newestFirst: false) { _, _ in } } == .notFound)
            var backups: [Backup] = []
            for _ in 0..<5 { backups.append(try back(up: store, following: backups.last?.blob)) }
            for newestFirst in [false, true] {
                var seen: [Backup] = []
                try store.history(of: pod, newestFirst: newestFirst) {
                    seen.append(Backup(blob: $0, metadata: try $1.get()))
                }
                #expect(seen == (newestFirst ? backups.reversed() : backups))
            }
            for backup in backups {
                #expect(try store.metadata(of: backup.blob, in: pod) == backup)
            }
            #expect(status { _ = try store.metadata(of: address([1]), in: pod) } == .notFound)
            #expect(status { try store.history(of: other, newestFirst: false) { _, _ in } } == .notFound)
            // What the visitor throws ends it.
            let stop = Failure(.io, "stop")
            #expect(status { try store.history(of: pod, newestFirst: false) { _, _ in throw stop } } == .io)
        }
    }

    @Test(arguments: Subject.all)
    func blobsOfEveryLengthComeBack(_ driver: Subject) throws {
        let window = Ring.bufferLength
        try driver.withEmptyStore { store in
            for length in [
                152, 4096, window - 1, window, window + 1, window + 15, 2 * window, 3 * window,
                3 * window + 4095, 6 * window, 9 * window + 7,
            ] {
                let bytes = sealed(.blob, length: length)
                let receipt = try store.storeBlob(of: pod, from: stream(bytes))
                #expect(
                    receipt
                        == Receipt(
                            size: UInt64(length), sha256: try address(bytes),
                            sha512: try Digest.hex(.sha512, of: bytes)))
                let fetched = try fetch(
                    receipt.sha256, of: pod, from: store, size: receipt.size, sha512: receipt.sha512)
                #expect(fetched.failure == nil)
                #expect(
                    fetched.bytes.count == length && begins(bytes, with: fetched.bytes), "\(length) bytes")
            }
        }
    }

    @Test(arguments: Subject.all)
    func theSameBlobTwiceIsASuccess(_ driver: Subject) throws {
        try driver.withEmptyStore { store in
            let bytes = sealed(.blob, length: 100_000)
            let first = try store.storeBlob(of: pod, from: stream(bytes))
            #expect(try store.storeBlob(of: pod, from: stream(bytes)) == first)
            #expect(try fetch(first.sha256, of: pod, from: store).bytes == bytes)
        }
    }

    @Test(arguments: Subject.all)
    func aCutBlobIsRefusedAndNothingStays(_ driver: Subject) throws {
        let window = Ring.bufferLength
        let whole = sealed(.blob, length: 3 * window + 500)
        try driver.withEmptyStore { store in
            for length in [
                0, 1, 63, 64, 80, 151, window - 1, window, window + 1, 2 * window, whole.count - 17,
                whole.count - 16, whole.count - 8, whole.count - 1,
            ] {
                let cut = Array(whole.prefix(length))
                #expect(
                    status { _ = try store.storeBlob(of: pod, from: stream(cut)) } == .badData,
                    "\(length) bytes")
                let fetched = try fetch(address(cut), of: pod, from: store)
                #expect(fetched.failure?.status == .notFound)
            }
        }
    }

    @Test(arguments: Subject.all)
    func whatIsNoSealedBlobIsRefused(_ driver: Subject) throws {
        try driver.withEmptyStore { store in
            let good = sealed(.blob, length: 1000)
            let inputs = [
                Array("btrfs-stream\0 plaintext".utf8), good + [0], good + good,
                sealed(.metadata, length: 1000),
                sealed(.blob, length: 100),
            ]
            for bytes in inputs {
                #expect(status { _ = try store.storeBlob(of: pod, from: stream(bytes)) } == .badData)
                let fetched = try fetch(address(bytes), of: pod, from: store)
                #expect(fetched.failure?.status == .notFound)
            }
        }
    }

    @Test(arguments: Subject.all)
    func metadataIsAHistory(_ driver: Subject) throws {
        try driver.withEmptyStore { store in
            let first = try back(up: store, following: nil)
            #expect(try store.lastMetadata(of: pod) == first)
            let second = try back(up: store, following: first.blob)
            let third = try back(up: store, following: second.blob)
            #expect(try store.lastMetadata(of: pod) == third)
            #expect(try store.list(of: pod) == [first.blob, second.blob, third.blob])
        }
    }

    @Test(arguments: Subject.all)
    func onlyTheHeadIsFollowed(_ driver: Subject) throws {
        try driver.withEmptyStore { store in
            let first = try back(up: store, following: nil)
            let second = try back(up: store, following: first.blob)
            for stale in [nil, first.blob, try address([1])] {
                #expect(status { try back(up: store, following: stale) } == .busy)
            }
            #expect(try store.lastMetadata(of: pod) == second)
        }
    }

    @Test(arguments: Subject.all)
    func aLostAnswerMayBeAskedForAgain(_ driver: Subject) throws {
        try driver.withEmptyStore { store in
            let first = try back(up: store, following: nil)
            func again(_ backup: Backup, _ metadata: [UInt8], following head: Address?) -> Plumbing.ExitStatus
            {
                status {
                    try store.storeMetadata(
                        metadata, of: pod, for: backup.blob, following: head, buildingOn: nil, from: "test")
                }
            }
            #expect(again(first, first.metadata, following: nil) == .done)
            // Another document for the same blob is no answer that was lost.
            #expect(again(first, sealed(.metadata, length: 400), following: nil) == .busy)
            #expect(again(first, sealed(.metadata, length: 400), following: first.blob) == .badData)
            let second = try back(up: store, following: first.blob)
            #expect(again(first, first.metadata, following: second.blob) == .badData)
            #expect(try store.list(of: pod) == [first.blob, second.blob])
        }
    }

    @Test(arguments: Subject.all)
    func metadataNeedsItsBlob(_ driver: Subject) throws {
        try driver.withEmptyStore { store in
            func storing(_ metadata: [UInt8], for blob: Address) -> Plumbing.ExitStatus {
                status {
                    try store.storeMetadata(
                        metadata, of: pod, for: blob, following: nil, buildingOn: nil, from: "test")
                }
            }
            #expect(storing(sealed(.metadata, length: 400), for: try address([1])) == .notFound)
            let elsewhere = try store.storeBlob(of: other, from: stream(sealed(.blob, length: 500))).sha256
            #expect(storing(sealed(.metadata, length: 400), for: elsewhere) == .notFound)
            let blob = try store.storeBlob(of: pod, from: stream(sealed(.blob, length: 500))).sha256
            #expect(storing(sealed(.blob, length: 400), for: blob) == .badData)
            #expect(storing(sealed(.metadata, length: 400).dropLast(), for: blob) == .badData)
            #expect(storing([], for: blob) == .badData)
            #expect(status { _ = try store.lastMetadata(of: pod) } == .notFound)
        }
    }

    @Test(arguments: Subject.all)
    func domainsKnowNothingOfOneAnother(_ driver: Subject) throws {
        try driver.withEmptyStore { store in
            let backup = try back(up: store, following: nil)
            #expect(status { _ = try store.lastMetadata(of: other) } == .notFound)
            #expect(try fetch(backup.blob, of: other, from: store).failure?.status == .notFound)
        }
    }

    @Test(arguments: Subject.all)
    func ofManyRacersForTheHeadOneWins(_ driver: Subject) throws {
        try driver.withEmptyStore { store in
            nonisolated(unsafe) let store = store
            let blobs = try (0..<6).map { _ in
                try store.storeBlob(of: pod, from: stream(sealed(.blob, length: 500))).sha256
            }
            nonisolated(unsafe) let endings = UnsafeMutablePointer<Plumbing.ExitStatus>.allocate(
                capacity: blobs.count)
            defer { endings.deallocate() }
            let racers = try blobs.enumerated().map { index, blob in
                let metadata = sealed(.metadata, length: 400)
                return try Worker { [pod] in
                    let ending = status {
                        try store.storeMetadata(
                            metadata, of: pod, for: blob, following: nil, buildingOn: nil, from: "test")
                    }
                    (endings + index).initialize(to: ending)
                }
            }
            for racer in racers { racer.join() }
            let all = (0..<blobs.count).map { endings[$0] }
            #expect(all.filter { $0 == .done }.count == 1)
            #expect(all.filter { $0 == .busy }.count == blobs.count - 1)
            let list = try store.list(of: pod)
            #expect(list == blobs.indices.filter { all[$0] == .done }.map { blobs[$0] })
        }
    }

    @Test(arguments: Subject.all)
    func theNewestKeyComesBack(_ driver: Subject) throws {
        try driver.withEmptyStore { store in
            #expect(status { _ = try store.sealedKey(of: pod) } == .notFound)
            let keys = [sealed(.key, length: 184), sealed(.key, length: 184)]
            for key in [keys[0], keys[0], keys[1], keys[0]] {
                try store.storeKey(key, of: pod, from: "test")
                #expect(try store.sealedKey(of: pod) == key)
            }
            #expect(status { _ = try store.sealedKey(of: other) } == .notFound)
            for bytes in [sealed(.blob, length: 184), keys[1].dropLast(), Array("EPOD-KEY-1".utf8), []] {
                #expect(status { try store.storeKey(bytes, of: pod, from: "test") } == .badData)
            }
            #expect(try store.sealedKey(of: pod) == keys[0])
        }
    }

    @Test(arguments: Subject.all)
    func whatBuildsOnNothingIsNotCommitted(_ driver: Subject) throws {
        try driver.withEmptyStore { store in
            let first = try back(up: store, following: nil)
            let absent = try address([1])
            #expect(
                status { try back(up: store, following: first.blob, buildingOn: absent) } == .notFound)
            #expect(try store.lastMetadata(of: pod) == first)
            let second = try back(up: store, following: first.blob, buildingOn: first.blob)
            try back(up: store, following: second.blob, buildingOn: first.blob)
        }
    }

    /// A store that deletes nothing says so, and a history has its prunings behind the documents.
    @Test(arguments: Subject.all)
    func whatIsDiscardedComesBackUntilItIsGone(_ driver: Subject) throws {
        try driver.withEmptyStore { store in
            let first = try back(up: store, following: nil)
            let second = try back(up: store, following: first.blob)
            var blobs: [BlobEntry] = []
            guard status({ blobs = try store.blobs(of: pod) }) != .unavailable else {
                for call in [
                    { _ = try store.discard([first.blob], of: pod) },
                    { try store.recover([first.blob], of: pod) },
                    { _ = try store.emptyTrash(of: pod, olderThan: 0) },
                    { try store.storePruning(sealed(.pruning, length: 300), of: pod, from: "test") },
                ] { #expect(status(call) == .unavailable) }
                return #expect(try fetch(first.blob, of: pod, from: store).failure == nil)
            }
            func entry(_ blob: Address) throws -> BlobEntry? {
                try store.blobs(of: pod).first { $0.address == blob }
            }
            #expect(Set(blobs.map(\.address)) == [first.blob, second.blob])
            #expect(blobs.allSatisfy { $0.size == 3000 && $0.state != .trash && (0..<60).contains($0.age) })
            #expect(try store.blobs(of: other).isEmpty)

            let pruning = sealed(.pruning, length: 300)
            for _ in 0..<2 { try store.storePruning(pruning, of: pod, from: "test") }
            #expect(status { try store.storePruning(first.metadata, of: pod, from: "test") } == .badData)
            var prunings: [[UInt8]] = []
            try store.prunings(of: pod) { prunings.append(try $1.get()) }
            #expect(prunings == [pruning])

            for _ in 0..<2 { #expect(try store.discard([first.blob, address([1])], of: pod) == 0) }
            #expect(try fetch(first.blob, of: pod, from: store).failure?.status == .notFound)
            #expect(try entry(first.blob)?.state == .trash && entry(second.blob)?.state != .trash)
            // Its document stays.
            #expect(try store.metadata(of: first.blob, in: pod) == first)
            #expect(try store.emptyTrash(of: pod, olderThan: 3600) == 0)
            for _ in 0..<2 { try store.recover([first.blob, address([1])], of: pod) }
            #expect(try fetch(first.blob, of: pod, from: store).failure == nil)

            #expect(try store.discard([first.blob], of: pod) == 0)
            guard !driver.emptiesItsTrash else {
                return #expect(try store.emptyTrash(of: pod, olderThan: 0) == 0 && entry(first.blob) != nil)
            }
            #expect(try store.emptyTrash(of: pod, olderThan: 0) == 3000)
            #expect(try entry(first.blob) == nil && store.emptyTrash(of: pod, olderThan: 0) == 0)
            try store.recover([first.blob], of: pod)
            #expect(try fetch(first.blob, of: pod, from: store).failure?.status == .notFound)
            #expect(try fetch(second.blob, of: pod, from: store).failure == nil)
        }
    }

    @Test(arguments: Subject.all)
    func aBlobThatIsNotTheExpectedOneKeepsItsTail(_ driver: Subject) throws {
        try driver.withEmptyStore { store in
            for length in [500, 3 * Ring.bufferLength + 5] {
                let bytes = sealed(.blob, length: length)
                let blob = try store.storeBlob(of: pod, from: stream(bytes)).sha256
                let wrong = String(repeating: "0", count: 128)
                for fetched in [
                    try fetch(blob, of: pod, from: store, size: UInt64(length - 1)),
                    try fetch(blob, of: pod, from: store, size: UInt64(length + 1)),
                    try fetch(blob, of: pod, from: store, sha512: wrong),
                ] {
                    #expect(fetched.failure?.status == .badData)
                    #expect(fetched.bytes.count <= max(0, length - 16))
                    #expect(begins(bytes, with: fetched.bytes))
                }
            }
        }
    }

    @Test(arguments: Subject.all)
    func aReaderThatGoesAwayIsAnIOError(_ driver: Subject) throws {
        try driver.withEmptyStore { store in
            let blob = try store.storeBlob(of: pod, from: stream(sealed(.blob, length: 9 << 20))).sha256
            var ends: [Int32] = [-1, -1]
            try #require(pipe(&ends) == 0)
            close(ends[0])
            let ending = status {
                try store.fetchBlob(blob, of: pod, to: Descriptor(owning: ends[1], name: "sink"))
            }
            #expect(ending == .io)
        }
    }
}
