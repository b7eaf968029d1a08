import DurableFiles
import Envelope
import Glibc
import HTTPTypes
import NIOCore
import StoreFormat
import Testing

@testable import DuneSea

@Suite struct UploadTests {
    let place: Place
    let store: Store
    let shelf: Shelf
    let blob = sealed(.blob, 40_000)

    init() throws {
        place = try Place()
        store = try place.open()
        shelf = store.shelf(pod)
    }

    @Test func comesInPieces() async throws {
        let upload = try await shelf.open()
        for start in stride(from: 0, to: blob.count, by: 7_001) {
            try await upload.append(blob[start..<min(start + 7_001, blob.count)])
            #expect(upload.offset == UInt64(min(start + 7_001, blob.count)))
        }
        let address = try address(of: blob)
        #expect(try await shelf.size(ofBlob: address) == nil)
        #expect(try await upload.finish(length: UInt64(blob.count), address: address))
        #expect(try await shelf.size(ofBlob: address) == UInt64(blob.count))
        #expect(try names(place.unfinished).isEmpty)
        #expect(shelf.used == UInt64(blob.count))
        #expect(shelf.uploads.isEmpty)
    }

    @Test func sameBytesAgainCountOnce() async throws {
        let address = try await shelf.store(blob)
        let upload = try await shelf.open()
        try await upload.append(blob)
        #expect(try await upload.finish(length: UInt64(blob.count), address: address) == false)
        #expect(shelf.used == UInt64(blob.count))
        #expect(try names(place.blobs) == [address.description])
        #expect(try names(place.unfinished).isEmpty)
    }

    @Test(arguments: [true, false])
    func aRottenBlobIsHealed(cut: Bool) async throws {
        let address = try await shelf.store(blob)
        let path = "\(place.blobs)/\(address)"
        let file = try opened(path, cut ? O_RDWR | O_TRUNC : O_RDWR)
        try blob[..<20_000].withUnsafeBytes { try file.write($0, at: cut ? 0 : 1) }
        do { _ = try await shelf.store(blob) }
        #expect(try opened(path, O_RDONLY).read(at: 0, count: 100_000) == blob)
        if !cut { #expect(shelf.used == UInt64(blob.count)) }
    }

    @Test func aWrongOffsetIsToldTheRightOne() async throws {
        let upload = try await shelf.open()
        try await upload.append(blob[..<100])
        for offset: UInt64 in [0, 99, 101, .max] {
            do {
                _ = try await upload.take(at: offset, announced: nil)
                Issue.record("taken at \(offset)")
            } catch let refusal as Refusal {
                #expect(refusal.status == .conflict)
                #expect(refusal.headers[.uploadOffset] == "100")
            }
        }
    }

    @Test func whoeverAsksTakesItOver() async throws {
        let upload = try await shelf.open()
        let first = try await upload.take(at: 0, announced: nil)
        try await upload.append([ByteBuffer(bytes: blob[..<100])], holding: first)
        #expect(try await upload.acknowledged() == 100)
        #expect(
            await refusal { try await upload.append([ByteBuffer(bytes: blob[100..<200])], holding: first) }
                == 409)
        #expect(upload.offset == 100)
    }

    @Test func missingBytesMayStillCome() async throws {
        let upload = try await shelf.open()
        try await upload.append(blob[..<30_000])
        let address = try address(of: blob)
        #expect(
            await refusal { _ = try await upload.finish(length: UInt64(blob.count), address: address) } == 409
        )
        try await upload.append(blob[30_000...])
        #expect(try await upload.finish(length: UInt64(blob.count), address: address))
    }

    @Test(arguments: [true, false])
    func wrongBytesEndIt(flipped: Bool) async throws {
        var bytes = blob
        if flipped { bytes[20_000] ^= 1 }
        let other = try address(of: flipped ? blob : [])
        let upload = try await shelf.open()
        try await upload.append(bytes)
        #expect(
            await refusal { _ = try await upload.finish(length: UInt64(bytes.count), address: other) } == 422)
        #expect(shelf.used == 0)
        #expect(try names(place.unfinished).isEmpty)
        #expect(try names(place.blobs).isEmpty)
    }

    @Test func onlySealedBlobsGetIn() async throws {
        let upload = try await shelf.open()
        try await upload.append([UInt8](repeating: 65, count: 63))
        #expect(await refusal { try await upload.append([65]) } == 422)
        #expect(shelf.used == 0)

        let document = try await shelf.open()
        #expect(await refusal { try await document.append(sealed(.metadata, 100)) } == 422)

        for cut in [blob.dropLast(1), blob.dropLast(16), blob.prefix(64), (blob + [0])[...]] {
            let upload = try await shelf.open()
            try await upload.append(cut)
            let address = try address(of: Array(cut))
            #expect(
                await refusal { _ = try await upload.finish(length: UInt64(cut.count), address: address) }
                    == 422)
        }
        let empty = try await shelf.open()
        let address = try address(of: [])
        #expect(await refusal { _ = try await empty.finish(length: 0, address: address) } == 422)
        #expect(shelf.used == 0)
        #expect(try names(place.blobs).isEmpty)
    }

    @Test func whatIsTooMuchEndsIt() async throws {
        var limits = Limits()
        limits.domainBytes = 50_000
        limits.uploadBytes = 45_000
        let place = try Place()
        let shelf = try place.open(limits).shelf(pod)
        _ = try await shelf.store(blob)

        let second = try await shelf.open()
        try await second.append(sealed(.blob, 40_000, filler: 1)[..<5_000])
        #expect(await refusal { try await second.append(blob[..<20_000]) } == 507)
        #expect(shelf.used == UInt64(blob.count))
        #expect(await refusal { _ = try await second.acknowledged() } == 404)

        let announced = try await shelf.open()
        #expect(await refusal { _ = try await announced.take(at: 0, announced: .max) } == 507)
        let long = try await shelf.open()
        #expect(await refusal { _ = try await long.take(at: 0, announced: 45_001) } == 507)
        #expect(shelf.uploads.isEmpty)
    }

    @Test func unfinishedOnesAreCountedAndAge() async throws {
        var limits = Limits()
        limits.uploads = 2
        limits.uploadAge = 0
        let place = try Place()
        let store = try place.open(limits)
        let shelf = store.shelf(pod)
        let upload = try await shelf.open()
        try await upload.append(blob)
        _ = try await shelf.open()
        #expect(await refusal { _ = try await shelf.open() } == 429)
        try await store.removeStale { Issue.record($0) }
        #expect(shelf.uploads.isEmpty && shelf.used == 0)
        #expect(try names(place.unfinished).isEmpty)
        _ = try await shelf.open()
    }
}
