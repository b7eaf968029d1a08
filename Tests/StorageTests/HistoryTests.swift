import Envelope
import Glibc
import Plumbing
import StoreFormat
import Testing

@testable import Storage

/// What is made of a history, whatever a driver says it is.
@Suite struct StoredHistories {
    private let pod: Domain

    init() throws {
        pod = try Domain("pod")
    }

    @Test func oneThatGoesOnAndOnIsNone() throws {
        let endless = Told { $0 < 200 ? try Told.address($0) : nil }
        var seen: [Address] = []
        let ending = status {
            try endless.boundedHistory(of: pod, newestFirst: false, atMost: 100) { blob, _ in
                seen.append(blob)
            }
        }
        #expect(ending == .badData)
        #expect(try seen == (0..<100).map(Told.address))
        #expect(StoreLimits.history == 1_000_000)
    }

    @Test func oneOfTheLengthThatThereMayBeIsWhole() throws {
        let told = Told { $0 < 100 ? try Told.address($0) : nil }
        var count = 0
        try told.boundedHistory(of: pod, newestFirst: false, atMost: 100) { _, _ in count += 1 }
        #expect(count == 100)
    }

    @Test func oneThatGoesRoundIsRefused() throws {
        let circle = Told { $0 < 4 ? try Told.address($0 % 3) : nil }
        #expect(status { _ = try circle.list(of: pod) } == .badData)
        let sink = try Descriptor(opening: "/dev/null", O_WRONLY)
        let ending = status {
            _ = try circle.fetchHistory(of: pod, newestFirst: false, to: sink, complain: { _ in })
        }
        #expect(ending == .badData)
    }

    @Test func whatCannotBeReadIsListed() throws {
        let told = Told(unreadable: 1) { $0 < 3 ? try Told.address($0) : nil }
        #expect(try told.list(of: pod) == (0..<3).map(Told.address))
    }
}

/// A store that has a history, for as long as `blob` gives one.
private struct Told: Store {
    var unreadable: Int?
    let blob: (Int) throws -> Address?

    static func address(_ number: Int) throws -> Address { try Address(number.padded(to: 64, radix: 16)) }

    func history(
        of domain: Domain, newestFirst: Bool, _ visit: (Address, Result<[UInt8], Failure>) throws -> Void
    ) throws {
        var number = 0
        while let blob = try blob(number) {
            let rotten = number == unreadable
            try visit(
                blob, rotten ? .failure(Failure(.io, "rotten")) : .success(sealed(.metadata, length: 400)))
            number += 1
        }
    }

    func put(_ blob: Intake, of domain: Domain) throws { throw none }
    func put(
        metadata: [UInt8], of domain: Domain, for blob: Address, following head: Address?,
        buildingOn parent: Address?
    ) throws { throw none }
    func last(of domain: Domain) throws -> Backup { throw none }
    func document(of blob: Address, in domain: Domain) throws -> [UInt8] { throw none }
    func put(key: [UInt8], of domain: Domain) throws { throw none }
    func key(of domain: Domain) throws -> StoredKey { throw none }
    func get(_ blob: Address, of domain: Domain, to outlet: Outlet) throws { throw none }
    private var none: Failure { Failure(.notFound, "nothing here") }
}
