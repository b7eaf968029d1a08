import JSON
import OpenSSL
import Plumbing
import Testing

@testable import Catalog

@Suite struct Documents {
    @Test func roundTrip() throws {
        for json in [try Sample.first(), try Sample.second(), try Sample.third()] {
            #expect(try Sample.document(json).metadata.json == json)
        }
    }

    @Test func theOrderOfMembersIsFixed() throws {
        guard case .object(let members) = try Sample.second() else { return }
        let shuffled = JSON.object(members.reversed())
        #expect(try Sample.document(shuffled).metadata.json == Sample.second())
    }

    @Test func unknownMembersAreKept() throws {
        let kept: JSON = ["deep": [1, .number("1e400"), .null]]
        let json = try Sample.second()
            .with(["later"], kept).with(["producer", "later"], kept).with(["parent", "later"], "é")
            .with(["previous", "later"], .null)
        let written = try Sample.document(json).metadata.json
        for path in [["later"], ["producer", "later"], ["parent", "later"], ["previous", "later"]] {
            let (one, other) = (path.reduce(json) { $0[$1] ?? "?" }, path.reduce(written) { $0[$1] ?? "!" })
            #expect(one == other, "\(path)")
        }
    }

    @Test func theDigestIsOfTheBytesWithoutTheNewline() throws {
        let text = try Sample.first().description
        let digest = try Digest.hex(.sha512, of: Array(text.utf8))
        #expect(try Document(parsing: Array(text.utf8), at: "test").sha512 == digest)
        #expect(try Document(parsing: Array("\(text)\n".utf8), at: "test").sha512 == digest)
        // Other bytes that mean the same are another document.
        #expect(try Document(parsing: Array(" \(text)".utf8), at: "test").sha512 != digest)
    }

    @Test func oneLineOfAtMostOneMebibyte() throws {
        let text = Array(try Sample.first().description.utf8)
        func padded(to count: Int) -> [UInt8] { text + [UInt8](repeating: 0x20, count: count - text.count) }
        #expect(refusal(padded(to: 1 << 20) + [0x0a]) == nil)
        #expect(refusal(padded(to: 1 << 20 + 1)) == "a metadata document longer than 1 MiB")
        #expect(refusal(text + [0x0a, 0x0a]) == "a metadata document with more than one line")
        #expect(refusal([0x0a] + text) == "a metadata document with more than one line")
        #expect(refusal([0x0a]) == "empty instead of a metadata document")
        #expect(refusal([UInt8]()) == "empty instead of a metadata document")
    }

    @Test func everyTruncation() throws {
        let bytes = Array(try Sample.second().description.utf8)
        for count in 0..<bytes.count { #expect(refusal(Array(bytes[..<count])) != nil) }
    }

    static let names = [
        "version", "domain", "generation", "type", "uuid", "date", "size", "sha512", "sha256", "producer",
    ]
    static let paths =
        (names + ["previous", "parent"]).map { [$0] } + names.map { ["parent", $0] }
        + ["escapepod", "kernel", "btrfs-progs"].flatMap { [["producer", $0], ["parent", "producer", $0]] }
        + [["previous", "generation"], ["previous", "metadataSha512"]]

    @Test(arguments: paths)
    func eachMemberIsNeeded(path: [String]) throws {
        let json = try Sample.second()
        #expect(refusal(json) == nil)
        let name = path.joined(separator: ".")
        #expect(refusal(json.with(path, nil)) == "member \(name) is missing")
        for wrong: JSON in [
            .null, true, [1], .number("1.5"), .number("1e400"), ["x": 1], "", 0, -1, .integer(.max),
        ] {
            let what = refusal(json.with(path, wrong)) ?? "taken"
            #expect(what.hasPrefix("member \(name)"), "\(name) as \(wrong): \(what)")
        }
    }

    @Test(
        arguments: [
            (["version"], 2, "member version is 2, not 1"),
            (["domain"], "../x", "member domain is not a valid domain"),
            (["domain"], "Pod", "member domain is not a valid domain"),
            (["type"], "Full", "member type is neither full nor incremental"),
            (["uuid"], "2222222-22222-2222-2222-222222222222", "member uuid is not a UUID in lower case"),
            (["uuid"], "AAAAAAAA-2222-2222-2222-222222222222", "member uuid is not a UUID in lower case"),
            (["size"], 151, "member size is out of range: 151"),
            (["size"], 4_508_000_000_000_000, "member size is out of range: 4508000000000000"),
            (["generation"], 0, "member generation is out of range: 0"),
            (["sha256"], "ABCD", "member sha256 is not a digest of 64 lower-case hexadecimal digits"),
            (["producer", "kernel"], "", "member producer.kernel is empty"),
            (["producer", "kernel"], "a\0b", "member producer.kernel contains a zero byte"),
            (["previous", "generation"], 2, "member previous.generation is not less than 2"),
            (["parent", "generation"], 3, "member parent.generation is not one before 2"),
            (["parent", "domain"], "other", "member parent.domain is other, not pod.example.org"),
            (["parent", "uuid"], .string(uuid(2)), "member parent.uuid is the backup's own"),
            (["chain"], [:], "member chain is present, but the parent is not incremental"),
            (
                ["parent", "chain"], [:],
                "member parent.chain is present, but a parent has no links of its own"
            ),
            (
                ["parent", "parent"], .null,
                "member parent.parent is present, but a parent has no links of its own"
            ),
            (
                ["parent", "previous"], [:],
                "member parent.previous is present, but a parent has no links of its own"
            ),
        ] as [([String], JSON, String)])
    func eachRule(path: [String], value: JSON, what: String) throws {
        #expect(refusal(try Sample.second().with(path, value)) == what)
    }

    @Test(
        arguments: [
            (["chain"], nil, "member chain is missing"), (["chain"], 1, "member chain is not an object"),
            (["chain", "count"], -1, "member chain.count is out of range: -1"),
            (["chain", "size"], .integer(1 << 61), "member chain.size is out of range: \(1 << 61)"),
            (
                ["chain", "root", "type"], "incremental",
                "member chain.root is no full backup of pod.example.org"
            ),
            (["chain", "root", "domain"], "other", "member chain.root is no full backup of pod.example.org"),
            (["chain", "root", "uuid"], nil, "member chain.root.uuid is missing"),
            (["chain", "root", "generation"], 4, "member chain.differential is not between root and parent"),
            (
                ["chain", "differential", "size"], 777,
                "member chain.differential is not between root and parent"
            ),
            (["chain", "count"], 1, "member chain.differential is not between root and parent"),
        ] as [([String], JSON?, String)])
    func eachRuleOfTheChain(path: [String], value: JSON?, what: String) throws {
        let third = try Sample.incremental(3, upon: Sample.second())
        #expect(refusal(third) == nil)
        #expect(refusal(third.with(path, value)) == what)
    }

    @Test func theMembersOfAMachine() throws {
        func named(_ domain: String) throws -> JSON {
            [
                "domain": .string(domain), "generation": 3,
                "sha256": .string(try Digest.hex(.sha256, of: Array(domain.utf8))),
            ]
        }
        let all = try ["home", "root"].map { try named("\($0).\(Sample.domain)") }
        let second = try Sample.second().with(["members"], .array(all))
        let metadata = try Sample.document(second).metadata
        #expect(metadata.json == second && metadata.members?.map(\.generation) == [3, 3])
        #expect(
            metadata.page.hasSuffix(
                "\nNames the backups of 2 members:\n\n  home.pod.example.org, generation 3\n"
                    + "  root.pod.example.org, generation 3\n"))
        // They are no part of what builds on it.
        let third = try Sample.incremental(3, upon: second)
        #expect(try Sample.document(third).metadata.parent == metadata.backup && refusal(third) == nil)
        #expect(try Sample.document(third).metadata.members == nil)
        #expect(
            refusal(third.with(["parent", "members"], .array(all)))
                == "member parent.members is present, but a parent has no links of its own")
        let many = try (0...2000).map { try named("\($0).\(Sample.domain)") }
        #expect(refusal(second.with(["members"], .array(Array(many.dropLast())))) == nil)
        for (members, what) in [
            (.null, " is not an array"), ([:], " is not an array"), ([], " has 0 elements, not 1 to 2000"),
            (.array(many), " has 2001 elements, not 1 to 2000"), ([1], "[0] is not an object"),
            ([all[0], [:]], "[1].domain is missing"),
            (.array(all + [all[1]]), "[2].domain is root.pod.example.org, for a second time"),
            ([try named("home.other")], "[0].domain is home.other, which is not below pod.example.org"),
            ([try named("homepod.example.org")], nil),
            ([try named("pod.example.org")], nil), ([try named("a/b.pod.example.org")], nil),
            ([all[0].with(["generation"], 0)], "[0].generation is out of range: 0"),
            ([all[0].with(["sha256"], "00")], nil),
        ] as [(JSON, String?)] {
            let refused = refusal(second.with(["members"], members)) ?? "taken"
            #expect(what.map { refused == "member members\($0)" } ?? refused.hasPrefix("member members[0]."))
        }
    }

    @Test func linksWhereNoneBelong() throws {
        let first = try Sample.first()
        #expect(
            refusal(first.with(["previous"], .null))
                == "member previous is present, but generation 1 is the first")
        #expect(refusal(first.with(["parent"], .null)) == "member parent is present, but the backup is full")
        #expect(
            refusal(try Sample.third().with(["parent"], first))
                == "member parent is present, but the backup is full")
        #expect(refusal(first.with(["type"], "incremental")) == "member parent is missing")
        #expect(refusal(["version": 2]) == "member version is 2, not 1")
        #expect(refusal(JSON.array([1])) == "not a JSON object")
    }

    @Test func aSmallestBlobIsTaken() throws {
        #expect(refusal(try Sample.first().with(["size"], 152)) == nil)
    }
}

@Suite struct SyntaxTests {
    @Test func domains() {
        #expect(failure { try require(domain: "pod.example.org") } == nil)
        #expect(failure { try require(domain: "../x") }?.status == .usage)
    }

    @Test func dates() {
        for date in [
            "2026-11-23T06:10:00Z", "2024-02-29T23:59:59Z", "2000-02-29T00:00:00Z", "1970-01-01T00:00:00Z",
        ] {
            #expect(date.isDate, "\(date)")
        }
        for date in [
            "", "2026-11-23", "2026-11-23T06:10:00", "2026-11-23T06:10:00+00:00", "2026-11-23T06:10:00.5Z",
            "2026-11-23t06:10:00z", "2026-11-23 06:10:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z", "2026-04-31T00:00:00Z", "2025-02-29T00:00:00Z", "1900-02-29T00:00:00Z",
            "2026-11-23T24:00:00Z", "2026-11-23T06:60:00Z", "2026-11-23T06:10:60Z", "+026-11-23T06:10:00Z",
            "2026-11-23T06:10:00Z\n", "\u{1b}[2J", "２026-11-23T06:10:0Z",
        ] {
            #expect(!date.isDate, "\(date)")
        }
    }

    @Test func uuids() {
        #expect("01234567-89ab-cdef-0123-456789abcdef".isUUID)
        for text in [
            "", "----", "01234567-89AB-cdef-0123-456789abcdef", "0123456789abcdef0123456789abcdef",
            "01234567-89ab-cdef-0123-456789abcde", "01234567-89ab-cdef-0123-456789abcdefa",
            "01234567-89ab-cdef-0123-456789abcdeg", "01234567-89ab-cdef-0123-456789abcdef-",
            "{01234567-89ab-cdef-0123-456789abcdef}", "012345678-9ab-cdef-0123-456789abcdef",
        ] {
            #expect(!text.isUUID, "\(text)")
        }
    }
}

@Suite struct Chains {
    private func check(_ documents: [JSON], domain: String? = nil) -> String? {
        failure {
            var chain = Chain(domain: domain)
            for document in documents { try chain.append(Sample.document(document), at: "test") }
        }?.what
    }

    @Test func whole() throws {
        let documents = [try Sample.first(), try Sample.second(), try Sample.third()]
        #expect(check(documents) == nil)
        #expect(check(documents, domain: Sample.domain) == nil)
        #expect(check(Array(documents[1...])) == nil)
        #expect(check([documents[2]]) == nil)
    }

    @Test func breaks() throws {
        let (first, second, third) = (try Sample.first(), try Sample.second(), try Sample.third())
        #expect(check([first, third]) == "generation 3 follows generation 1")
        #expect(check([second, first]) == "generation 1 follows generation 2")
        #expect(check([first, first]) == "generation 1 follows generation 1")
        #expect(check([first], domain: "other") == "the document belongs to pod.example.org, not to other")
        let changed = first.with(["date"], "2026-11-21T06:10:01Z")
        #expect(check([changed, second])?.contains("previous.metadataSha512 differs") == true)
        #expect(
            check([first, second.with(["date"], "2026-11-20T00:00:00Z"), third])?.contains("generation 3")
                == true)
        let other = third.with(["domain"], "other")
        #expect(check([second, other]) == "the document belongs to other, not to pod.example.org")
    }

    @Test(arguments: ["uuid", "date", "size", "sha256", "sha512"])
    func aParentThatSaysOtherwise(name: String) throws {
        let (first, second) = (try Sample.first(), try Sample.second())
        let values: [String: JSON] = [
            "uuid": .string(uuid(9)), "date": "2026-11-20T00:00:00Z", "size": 999,
            "sha256": .string(String(repeating: "0", count: 64)),
            "sha512": .string(String(repeating: "0", count: 128)),
        ]
        let what = check([first, second.with(["parent", name], values[name])])
        #expect(what?.contains("the parent in generation 2 does not match generation 1") == true)
    }

    @Test func aParentFurtherBack() throws {
        let (first, second) = (try Sample.first(), try Sample.second())
        let third = try Sample.incremental(3, upon: second)
        let differential = try Sample.incremental(4, upon: first, on: third)
        let fifth = try Sample.incremental(5, upon: differential)
        let documents = [first, second, third, differential, fifth]
        #expect(check(documents) == nil)
        // From any one on: what comes before is not there to tell.
        for start in documents.indices { #expect(check(Array(documents[start...])) == nil, "\(start)") }
        // Back upon what the chain has left.
        let strayed = try Sample.incremental(6, upon: third, on: fifth)
        #expect(
            check(documents + [strayed]) == "generation 6 builds on generation 3, which is not of its chain")
        // What a document says of its chain is what its parent's says.
        let wrong = third.with(["chain", "root", "size"], 777)
        #expect(check([first, second, wrong]) == "the chain in generation 3 does not match generation 2")
    }

    @Test func aParentWithOtherUnknownMembers() throws {
        let second = try Sample.second()
        #expect(
            check([try Sample.first(), second.with(["parent", "x"], 1)])?.contains("the parent in") == true)
        #expect(
            check([try Sample.first(), second.with(["parent", "producer", "kernel"], "6")])?.contains(
                "the parent in")
                == true)
    }

    @Test func sendProtocol() throws {
        func document(_ value: JSON?) throws -> Document {
            try Document(
                parsing: Sample.first().with(["producer", "send-protocol"], value).line, at: "test")
        }
        #expect(try document(nil).metadata.backup.producer.sendProtocol == 1)
        #expect(try document(2).metadata.backup.producer.sendProtocol == 2)
        #expect(try document(2).metadata.json == Sample.first().with(["producer", "send-protocol"], 2))
        for bad: JSON in [0, 4, -1, "2", .null] {
            #expect(failure { _ = try document(bad) }?.status == .badData, "\(bad)")
        }
    }
}
