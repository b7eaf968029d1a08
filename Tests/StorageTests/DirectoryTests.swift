import DurableFiles
import Envelope
import Glibc
import OpenSSL
import Plumbing
import StoreFormat
import Testing

@testable import Storage

/// What is the directory driver's own: its layout, foreign files, parts, what a crash may leave.
@Suite(.timeLimit(.minutes(5))) struct Directories {
    private let scratch: Scratch
    private let store: DirectoryStore
    private let pod: Domain
    private let blobs = "escapepod/pod/blobs"
    private let metadata = "escapepod/pod/metadata"

    init() throws {
        scratch = try Scratch()
        store = DirectoryStore(
            root: try Folder.store(at: scratch.path), called: "file:\(scratch.path)")
        pod = try Domain("pod")
    }

    private func names(_ directory: String) throws -> [String] {
        try Folder.store(at: "\(scratch.path)/\(directory)").names().sorted()
    }

    private func put(_ bytes: [UInt8]) throws -> Address {
        try store.storeBlob(of: pod, from: stream(bytes)).sha256
    }

    private func describe(_ blob: Address, after head: Address?) throws {
        try store.storeMetadata(
            sealed(.metadata, length: 400), of: pod, for: blob, following: head, buildingOn: nil, from: "test"
        )
    }

    /// Lays the blob out in parts by hand, as a file system with short files would have it.
    private func lay(_ bytes: [UInt8], cutAt cuts: [Int]) throws -> Address {
        let blob = try address(bytes)
        for (index, range) in zip(cuts.indices, zip([0] + cuts, cuts)) {
            try scratch.write(
                Array(bytes[range.0..<range.1]), to: "\(blobs)/\(StoredBlob.name(ofPart: index, of: blob))")
        }
        return blob
    }

    @Test func theLayoutIsThatOfThePage() throws {
        let (first, second) = (
            try put(sealed(.blob, length: 200)), try put(sealed(.blob, length: 200))
        )
        try describe(first, after: nil)
        try describe(second, after: first)
        #expect(try names("escapepod/pod") == [".lock", "blobs", "metadata"])
        #expect(try names(blobs) == [first.hex, second.hex].sorted())
        #expect(try names(metadata) == ["0000000001-\(first)", "0000000002-\(second)"])
    }

    @Test func foreignFilesArePassedOver() throws {
        let blob = try put(sealed(.blob, length: 200))
        try describe(blob, after: nil)
        for name in [
            "Thumbs.db", "9999999999-x", "99-\(blob)", "0000000002-\(blob).bak", ".partial-0123456789abcdef",
            "0000000003_\(blob)", "+000000004-\(blob)",
        ] {
            try scratch.write([1], to: "\(metadata)/\(name)")
        }
        #expect(mkdir("\(scratch.path)/\(metadata)/lost+found", 0o700) == 0)
        #expect(try store.list(of: pod) == [blob])
    }

    @Test func twoHeadsOfOneNumberAreSaid() throws {
        let (first, second) = (
            try put(sealed(.blob, length: 200)), try put(sealed(.blob, length: 200))
        )
        try describe(first, after: nil)
        try scratch.write(sealed(.metadata, length: 400), to: "\(metadata)/0000000001-\(second)")
        #expect(status { _ = try store.lastMetadata(of: pod) } == .badData)
        #expect(status { _ = try store.list(of: pod) } == .badData)
        #expect(status { try describe(second, after: first) } == .badData)
    }

    @Test func oneBlobUnderTwoNumbersDoesNotGoRound() throws {
        let blob = try put(sealed(.blob, length: 200))
        try describe(blob, after: nil)
        try scratch.write(sealed(.metadata, length: 400), to: "\(metadata)/0000000002-\(blob)")
        #expect(status { _ = try store.list(of: pod) } == .badData)
    }

    @Test func aGapIsSteppedOver() throws {
        let (first, second, third) = (
            try put(sealed(.blob, length: 200)), try put(sealed(.blob, length: 200)),
            try put(sealed(.blob, length: 200))
        )
        try describe(first, after: nil)
        try scratch.write(sealed(.metadata, length: 400), to: "\(metadata)/0000000007-\(second)")
        #expect(try store.list(of: pod) == [first, second])
        try describe(third, after: second)
        #expect(try names(metadata).last == "0000000008-\(third)")
    }

    @Test func damagedMetadataIsNoMetadata() throws {
        let blob = try put(sealed(.blob, length: 200))
        try describe(blob, after: nil)
        let entry = "\(metadata)/0000000001-\(blob)"
        let whole = try scratch.read(entry)
        for length in [0, 10, 64, whole.count - 1] {
            try scratch.write(Array(whole.prefix(length)), to: entry)
            #expect(status { _ = try store.lastMetadata(of: pod) } == .badData)
        }
    }

    @Test func aRottenKeyIsNoKey() throws {
        let key = sealed(.key, length: 184)
        try store.storeKey(key, of: pod, from: "test")
        let folder = "escapepod/pod/keys"
        let entry = "\(folder)/\(try #require(try names(folder).first))"
        for offset in [0, 40, 70, 100, 150, 170, 183] {
            var rotten = key
            rotten[offset] ^= 1
            try scratch.write(rotten, to: entry)
            #expect(status { _ = try store.sealedKey(of: pod) } == .badData)
        }
        // The same again heals it.
        try store.storeKey(key, of: pod, from: "test")
        #expect(try store.sealedKey(of: pod) == key)
    }

    @Test func partsAreOneBlob() throws {
        _ = try put(sealed(.blob, length: 200))
        let bytes = sealed(.blob, length: 3_000_000)
        let blob = try lay(bytes, cutAt: [1_000_000, 2_000_000, 2_999_995, 3_000_000])
        let fetched = try fetch(blob, of: pod, from: store, size: 3_000_000)
        #expect(fetched.failure == nil)
        #expect(fetched.bytes == bytes)
        try describe(blob, after: nil)
    }

    /// A crash between the names of the parts leaves some of them: never a blob.
    @Test(arguments: 1..<8)
    func someOfThePartsAreNone(_ missing: Int) throws {
        _ = try put(sealed(.blob, length: 200))
        let bytes = sealed(.blob, length: 3000)
        let blob = try lay(bytes, cutAt: [1000, 2000, 3000])
        for index in 0..<3 where missing & 1 << index != 0 {
            unlink("\(scratch.path)/\(blobs)/\(StoredBlob.name(ofPart: index, of: blob))")
        }
        let fetched = try fetch(blob, of: pod, from: store)
        #expect([.notFound, .badData].contains(fetched.failure?.status))
        #expect(fetched.bytes.isEmpty)
        #expect([.notFound, .badData].contains(status { try describe(blob, after: nil) }))
        // Stored anew it is whole, and what was in the way is gone.
        #expect(try put(bytes) == blob)
        #expect(try fetch(blob, of: pod, from: store).bytes == bytes)
        #expect(try names(blobs).filter { $0.hasPrefix(blob.hex) } == [blob.hex])
    }

    @Test func storingAgainHealsARottenCopy() throws {
        let bytes = sealed(.blob, length: 100_000)
        let blob = try put(bytes)
        var rotten = bytes
        rotten[50_000] ^= 1
        try scratch.write(rotten, to: "\(blobs)/\(blob)")
        #expect(try fetch(blob, of: pod, from: store).failure?.status == .badData)
        #expect(try put(bytes) == blob)
        #expect(try fetch(blob, of: pod, from: store).bytes == bytes)
    }

    @Test func aFlippedBitAnywhereKeepsTheTail() throws {
        let bytes = sealed(.blob, length: 3 * Ring.bufferLength + 100)
        let blob = try put(bytes)
        for offset in [0, 9, 20, 64, 1000, 2_000_000, bytes.count - 17, bytes.count - 16, bytes.count - 1] {
            var rotten = bytes
            rotten[offset] ^= 0x10
            try scratch.write(rotten, to: "\(blobs)/\(blob)")
            let fetched = try fetch(blob, of: pod, from: store)
            #expect(fetched.failure?.status == .badData, "byte \(offset)")
            #expect(fetched.bytes.count <= bytes.count - 16)
        }
    }

    @Test func theDeadWritersAreSweptTheLivingAreNot() throws {
        _ = try put(sealed(.blob, length: 200))
        let (dead, living) = (".partial-00000000000000aa", ".partial-00000000000000bb")
        for name in [dead, living] { try scratch.write([1], to: "\(blobs)/\(name)") }
        let writer = try Descriptor(opening: "\(scratch.path)/\(blobs)/\(living)", O_RDWR)
        #expect(flock(writer.number, LOCK_EX) == 0)
        _ = try put(sealed(.blob, length: 200))
        let partials = try names(blobs).filter { $0.hasPrefix(".") }
        #expect(partials == [living])
        try writer.close()
        _ = try put(sealed(.blob, length: 200))
        #expect(try names(blobs).filter { $0.hasPrefix(".") }.isEmpty)
    }

    @Test func symbolicLinksAreRefused() throws {
        let elsewhere = try Scratch()
        let blob = try put(sealed(.blob, length: 200))
        try describe(blob, after: nil)
        #expect(rename("\(scratch.path)/escapepod/pod", "\(elsewhere.path)/pod") == 0)
        #expect(symlink("\(elsewhere.path)/pod", "\(scratch.path)/escapepod/pod") == 0)
        #expect(status { _ = try store.lastMetadata(of: pod) } == .badData)
        #expect(status { _ = try put(sealed(.blob, length: 200)) } == .badData)
        #expect(try fetch(blob, of: pod, from: store).failure?.status == .badData)
    }

    @Test func aDirectoryThatGoesOnAndOnIsNoStores() throws {
        for name in ["a", "b", "c"] { try scratch.write([1], to: name) }
        let directory = try Folder.store(at: scratch.path)
        #expect(try directory.names(atMost: 3).count == 3)
        #expect(status { _ = try directory.names(atMost: 2) } == .badData)
    }

    @Test func aBadInputMakesNothing() throws {
        #expect(status { _ = try put([1, 2, 3]) } == .badData)
        #expect(try names("").isEmpty)
    }

    @Test func aStalledProducerDoesNotHoldUpAFailure() throws {
        try scratch.write([], to: "escapepod")
        var ends: [Int32] = [-1, -1]
        try #require(pipe(&ends) == 0)
        let producer = Descriptor(owning: ends[1], name: "producer")
        let start = sealed(.blob, length: Ring.bufferLength + 10)
        let feeder = try Worker { [number = producer.number] in
            start.withUnsafeBytes { _ = write(number, $0.baseAddress, $0.count) }
        }
        // The producer keeps its end open and says nothing more.
        let ending = status {
            _ = try store.storeBlob(of: pod, from: Descriptor(owning: ends[0], name: "input"))
        }
        #expect(ending == .badData)
        feeder.join()
        try producer.close()
    }
}
