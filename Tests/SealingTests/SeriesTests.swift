import Envelope
import Plumbing
import Sealing
import Testing

/// A series of sealed documents, and what becomes of it on the way.
@Suite struct SeriesTests {
    private static let addresses = (1...3).map { [UInt8](repeating: $0, count: Series.addressLength) }

    private static func documents() throws -> [[UInt8]] {
        // The second has several chunks.
        try [#"{"a":1}"#, "{\"b\":\"\(String(repeating: "x", count: 40_000))\"}\n", #"{"c":3}"#].map {
            try sealed(Array($0.utf8), .metadata)
        }
    }

    private static func series(_ documents: [[UInt8]], count: UInt64? = nil) -> [UInt8] {
        zip(addresses, documents).reduce(into: []) {
            $0 += Series.bytes(of: .document(address: $1.0, length: $1.1.count)) + $1.1
        } + Series.bytes(of: .end(count: count ?? UInt64(documents.count)))
    }

    /// What comes out, how many documents were missing, and what was complained of.
    private func open(_ series: [UInt8], under other: Key? = nil) throws -> (
        outcome: Outcome, missing: Int, complaints: Int
    ) {
        var (missing, complaints) = (0, 0)
        let outcome = try run(series) {
            missing = try unsealSeries(
                under: other ?? key(), from: $0, behind: [], to: $1, complain: { _ in complaints += 1 })
        }
        return (outcome, missing, complaints)
    }

    private func lines(_ outcome: Outcome) -> [String] {
        String(decoding: outcome.bytes, as: UTF8.self).split(separator: "\n").map(String.init)
    }

    @Test func eachDocumentIsALine() throws {
        let opened = try open(Self.series(Self.documents()))
        let lines = lines(opened.outcome)
        #expect(opened.outcome.failure == nil && opened.missing == 0)
        #expect(lines.count == 4 && lines[3] == "end 3")
        #expect(lines[0] == "\(Self.addresses[0].hex) {\"a\":1}" && lines[1].count == 65 + 40_008)
        #expect(Series.recognises(Array(Self.series([]).prefix(Series.magicLength))))
        #expect(try !Series.recognises(Array(Self.documents()[0].prefix(Series.magicLength))))
    }

    @Test func whatDoesNotOpenHasItsLine() throws {
        var documents = try Self.documents()
        documents[1][documents[1].count - 100] ^= 1
        let opened = try open(Self.series(documents))
        #expect(opened.missing == 1 && opened.complaints == 1 && opened.outcome.failure == nil)
        #expect(lines(opened.outcome)[1] == "\(Self.addresses[1].hex) damaged")
        #expect(lines(opened.outcome)[2].hasSuffix("{\"c\":3}"))
        // Of another key, of another kind, several lines, no document.
        #expect(try open(Self.series(Self.documents()), under: Key.generate()).missing == 3)
        for bad in ["{\n}", "x", "\n"] {
            #expect(try open(Self.series([sealed(Array(bad.utf8), .metadata)])).missing == 1)
        }
        #expect(try open(Self.series([sealed(Array("{}".utf8), .blob)])).missing == 1)
        let absent =
            Series.bytes(of: .missing(address: Self.addresses[0], status: .io))
            + Series.bytes(of: .end(count: 1))
        #expect(try lines(open(absent).outcome) == ["\(Self.addresses[0].hex) unreadable", "end 1"])
    }

    @Test func whatIsCutHasNoEnd() throws {
        let series = try Self.series(Self.documents())
        for length in stride(from: 0, to: series.count, by: 997) {
            let opened = try open(Array(series.prefix(length)))
            #expect(opened.outcome.failure?.status == .badData)
            #expect(!lines(opened.outcome).contains { $0.hasPrefix("end") })
        }
        for bad in [
            series + [0], try Self.series(Self.documents(), count: 2), Array(series.dropFirst()),
            Series.bytes(of: .document(address: Self.addresses[0], length: 1 << 30)),
        ] {
            let opened = try open(bad)
            #expect(opened.outcome.failure?.status == .badData)
            #expect(!lines(opened.outcome).contains { $0.hasPrefix("end") })
        }
    }
}
