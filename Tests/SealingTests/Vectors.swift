import Envelope
import Glibc
import OpenSSL
import Plumbing
import Testing

@testable import Sealing

/// The files of `Tests/vectors`, written by `Tests/make-vectors`, an implementation of its own. `Tests/cli` holds that
/// against the same ones.
@Suite struct Vectors {
    private static let folder =
        #filePath.split(separator: "/").dropLast(2).map { "/\($0)" }.joined() + "/vectors"

    /// What messages say of each class of error.
    private static let says: [String: [String]] = [
        "not sealed": ["not a sealed stream", "empty input"],
        "unknown": ["unknown "],
        "reserved": ["reserved byte"],
        "kind": ["a sealed stream of kind"],
        "another key": ["another key"],
        "commitment": ["wrong salt or commitment"],
        "chunk": ["chunk 0 fails", "chunk 1 fails"],
        "cut": [
            "the sealed stream is truncated", "does not end with its trailer: truncated",
            "the trailer states",
        ],
        "compressed": ["cannot decompress the data inside: "],
        "damaged": ["the wrapped key is damaged"],
        "wrong passphrase": ["wrong passphrase"],
        "out of bounds": ["scrypt parameters out of range"],
    ]

    static let names: [String] = {
        guard let directory = opendir(folder) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names.sorted()
    }()

    @Test func areThere() {
        #expect(Vectors.names.count > 90)
    }

    @Test(arguments: names)
    func comeOutAsTheySay(name: String) throws {
        let file = try Descriptor(opening: "\(Vectors.folder)/\(name)", O_RDONLY).readAll(limit: 1 << 20)
        let end = try #require(
            zip(file, file.dropFirst()).enumerated().first { $0.element == (10, 10) }?.offset)
        let body = Array(file[(end + 2)...])
        var fields: [Substring: String] = [:]
        for line in String(decoding: file[..<end], as: UTF8.self).split(separator: "\n") {
            let colon = try #require(line.firstIndex(of: ":"))
            fields[line[..<colon]] = String(line[colon...].dropFirst(2))
        }
        let kind = try #require(fields["kind"].flatMap(Envelope.Kind.init))
        let outcome = try kind == .key ? unwrapped(body, fields["passphrase"]) : unsealed(body, kind)

        if fields["expect"] == "success" {
            #expect(outcome.failure == nil)
            #expect(try Digest.hex(.sha256, of: outcome.bytes) == fields["sha256"])
        } else {
            let said = try #require(Vectors.says[fields["expect"] ?? ""])
            let what = try #require(outcome.failure).what
            #expect(said.contains(where: what.contains), "\(what)")
            // Neither what was sealed last nor what nobody sealed.
            let full = (body.count - Envelope.prefixLength) / (Envelope.chunkLength + Envelope.tagLength)
            if fields["expect"] == "compressed" {
                // The seal is right; but the end of it never comes.
                #expect(outcome.bytes.isEmpty || Array("hell".utf8).starts(with: outcome.bytes))
            } else {
                #expect(outcome.bytes.count <= max(0, full - 1) * Envelope.chunkLength)
                #expect(same(outcome.bytes, sample(outcome.bytes.count)))
            }
        }
    }

    private func unwrapped(_ body: [UInt8], _ passphrase: String?) throws -> Outcome {
        let digits = Array(try #require(passphrase))
        let typed = stride(from: 0, to: digits.count, by: 2).compactMap {
            UInt8(String(digits[$0...($0 + 1)]), radix: 16)
        }
        do {
            let wrapped = try WrappedKey(parsing: body, at: "test")
            try wrapped.require(id: key().id().hex)
            let unwrapped = try wrapped.unwrap(
                with: Passphrase(from: "test") { bytes in
                    bytes.copyBytes(from: typed)
                    return typed.count
                })
            return Outcome(bytes: unwrapped.withBytes { Array($0) }, failure: nil)
        } catch let failure as Failure {
            return Outcome(bytes: [], failure: failure)
        }
    }
}
