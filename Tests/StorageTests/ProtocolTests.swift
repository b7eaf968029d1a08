import DuneSeaProtocol
import JSON
import Plumbing
import StoreFormat
import Testing

/// What both sides of DuneSea's protocol take from one place.
@Suite struct Protocol {
    @Test(arguments: [
        Problem(
            .insufficientStorage, "the store's disk is full: cannot write: no space left on device",
            at: "dunesea/uploads/pod/0f", hint: "the operator can free some space", exit: .io),
        Problem(.notFound, "no such blob"),
        Problem(.unprocessableContent, "a \"b\"\n\u{1b}[31m", hint: "\u{202e}"),
    ])
    func aRefusalComesBack(_ problem: Problem) throws {
        #expect(Problem(parsing: problem.json.line, status: problem.status) == problem)
    }

    @Test func aRefusalIsOfRFC9457() throws {
        let json = Problem(.insufficientStorage, "full", hint: "make room", exit: .io).json
        #expect(
            json.description
                == #"{"title":"Insufficient Storage","status":507,"detail":"full","hint":"make room","exit":74}"#
        )
        #expect(Problem.mediaType == "application/problem+json")
    }

    @Test(arguments: [
        "", "no room\n", "hint: x\n", "{}", "[]", #"{"detail":1}"#, #"{"title":"x"}"#, "<html>502</html>",
        #"{"detail":"#, String(repeating: "[", count: 4096),
    ])
    func whatIsNobodysIsNone(_ body: String) {
        #expect(Problem(parsing: Array(body.utf8), status: 502) == nil)
    }

    @Test func aServerCannotCallARefusalDone() throws {
        for (exit, expected) in [
            ("0", nil), ("1", nil), ("74", .io), ("-1", nil), ("99999999999", nil), ("\"74\"", nil),
        ] as [(String, Plumbing.ExitStatus?)] {
            let body = Array(#"{"detail":"x","status":200,"exit":\#(exit)}"#.utf8)
            let problem = try #require(Problem(parsing: body, status: 500))
            #expect(problem.exit == expected)
            #expect(problem.status == 500)
        }
        let long = Problem(.notFound, String(repeating: "x", count: 600))
        #expect(Problem(parsing: long.json.line, status: 404)?.detail.count == 500)
    }

    @Test func resourcesComeBack() throws {
        let pod = try Domain("pod.example.org")
        let name = String(repeating: "0f", count: 32)
        for resource in [
            Resource.uploads, .upload("id"), .blob(name), .metadata(Resource.last),
            .metadata(Resource.history), .metadata(name), .key(Resource.last), .key(name), .blobs, .trash,
            .prunings, .pruning(name), .room,
        ] {
            let (domain, rest) = try #require(Resource.split(resource.path(in: pod)))
            #expect(domain == pod.description)
            #expect(Resource(rest) == resource)
        }
        #expect(
            Resource.blob(name).target(in: pod, [(.upload, "id"), (.length, "9")])
                == "/v1/pod.example.org/blobs/\(name)?upload=id&length=9")
        for path in ["", "/", "/v1", "/v1/pod", "/v2/pod/uploads", "x/v1/pod/uploads"] {
            #expect(Resource.split(path) == nil)
        }
        for rest in ["", "x", "blobs/a/b", "trash/a", "room/", "uploads/", "metadata", "/blobs/a"] {
            let parts = rest.split(separator: "/", omittingEmptySubsequences: false)
            #expect(rest == "uploads/" ? Resource(parts) == .upload("") : Resource(parts) == nil)
        }
    }
}
