import Glibc
import Plumbing
import SendStream
import Testing

@testable import Receiving

// Streams that were made to do harm, applied to a plain folder: what is outside stays as it was.

/// A folder with the tree and what is outside of it, that goes with the value.
private final class Ground {
    let path: String
    private var trees = 0
    var outside: String { "\(path)/outside" }

    init() throws {
        var template = Array("/tmp/escapepod-tests-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw Failure.system("cannot make", at: "/tmp") }
        path = String(cString: made)
        for folder in [outside, "\(outside)/folder"] { mkdir(folder, 0o700) }
        try Descriptor(opening: "\(outside)/victim", O_WRONLY | O_CREAT, mode: 0o600).write(
            Array("whole".utf8))
    }

    deinit {
        var child = try? Child(["rm", "-rf", path])
        _ = try? child?.wait()
    }

    /// Everything that is outside: names, modes, owners, times, contents.
    func look() throws -> String {
        var child = try Child([
            "sh", "-c",
            "cd \(outside) && find . -printf '%p %y %m %U %n %s %T@ %C@\\n' | sort && cat victim && ls \(path) | grep -vx 'tree[0-9]*'",
        ])
        let text = String(decoding: try child.output.readAll(limit: 1 << 20), as: UTF8.self)
        _ = try child.wait()
        return text
    }

    /// Applies a stream to a new folder; nil when all of it went through.
    func apply(_ stream: StreamBuilder) throws -> Failure? {
        trees += 1
        let tree = "\(path)/tree\(trees)"
        mkdir(tree, 0o700)
        let root = try Descriptor.folder(at: tree)
        var reader = CommandReader(at: "test")
        var position = 0
        func next() throws -> Frame {
            try reader.next { buffer in
                let count = min(buffer.count, stream.bytes.count - position)
                buffer.copyBytes(from: stream.bytes[position..<position + count])
                position += count
                return count
            }
        }
        var applier = try Applier(to: root, of: Identity(of: next()), upon: nil) { _ in }
        do {
            while case let frame = try next(), frame.command != .end { try applier.apply(frame) }
            try applier.finish()
        } catch let failure as Failure {
            return failure
        }
        return nil
    }
}

private typealias Values = [(UInt16, [UInt8])]

private func text(_ text: String) -> [UInt8] { Array(text.utf8) }
private func number(_ value: UInt64) -> [UInt8] { little(value) }
private let times: Values = [9, 10, 11].map { ($0, little(Int64(1)) + little(UInt32(1))) }

extension StreamBuilder {
    fileprivate mutating func command(_ number: UInt16, _ path: String, _ values: Values = []) {
        command(
            number,
            ([(15, text(path))] + values).flatMap { $0 == 19 ? little($0) + $1 : attribute($0, $1) })
    }

    /// A file, a folder, a link to the folder outside and one to the file there; a device, a pipe, a socket.
    fileprivate static func planted(in ground: Ground) -> StreamBuilder {
        var stream = StreamBuilder(version: 2)
        stream.subvolume()
        stream.command(3, "file")
        stream.command(15, "file", [(18, number(0)), (19, text("content"))])
        stream.command(4, "folder")
        stream.command(8, "out", [(17, text(ground.outside))])
        stream.command(8, "victim", [(17, text("\(ground.outside)/victim"))])
        stream.command(8, "up", [(17, text(".."))])
        stream.command(8, "here", [(17, text("folder"))])
        stream.command(5, "device", [(5, number(UInt64(S_IFCHR) | 0o600)), (8, number(0x103))])
        stream.command(6, "pipe")
        stream.command(7, "socket")
        return stream
    }
}

private let uuid = StreamBuilder.uuidBytes

/// Each command that takes a path, with all that it takes; `path` is where it acts.
private func commands(at path: String) -> [(UInt16, String, Values)] {
    let clone: Values = [(18, number(0)), (24, number(4)), (20, uuid), (21, number(7)), (23, number(0))]
    return [
        (3, path, []), (4, path, []), (5, path, [(5, number(UInt64(S_IFCHR))), (8, number(0x103))]),
        (6, path, []),
        (7, path, []), (8, path, [(17, text("x"))]), (9, "file", [(16, text(path))]),
        (9, path, [(16, text("new"))]),
        (10, path, [(17, text("file"))]), (10, "new", [(17, text(path))]), (11, path, []), (12, path, []),
        (13, path, [(13, text("user.x")), (14, text("y"))]), (14, path, [(13, text("user.x"))]),
        (15, path, [(18, number(0)), (19, text("harm"))]), (16, path, clone + [(22, text("file"))]),
        (16, "file", clone + [(22, text(path))]), (17, path, [(4, number(1))]),
        (18, path, [(5, number(0o777))]),
        (19, path, [(6, number(7)), (7, number(7))]), (20, path, times),
        (23, path, [(25, little(UInt32(0))), (18, number(0)), (4, number(9))]), (24, path, [(26, number(0))]),
        (
            25, path,
            [
                (18, number(0)), (27, number(4096)), (28, number(4096)), (29, number(0)),
                (30, little(UInt32(2))),
                (19, text("harm")),
            ]
        ),
    ]
}

@Suite struct Confinement {
    @Test(arguments: [
        "out/victim", "out/folder", "out/new", "up/outside/victim", "here/../../outside/victim", "here/x",
    ])
    func pathThroughALink(path: String) throws {
        let ground = try Ground()
        let before = try ground.look()
        for (number, at, values) in commands(at: path) {
            var stream = StreamBuilder.planted(in: ground)
            stream.command(number, at, values)
            stream.end()
            let failure = try ground.apply(stream)
            #expect(failure?.status == .badData, "command \(number): \(failure?.what ?? "taken")")
        }
        #expect(try ground.look() == before)
    }

    /// The link itself may be renamed, removed, given an owner and times; nothing else is done to it, or to what it names.
    @Test func linkAsThePath() throws {
        let ground = try Ground()
        let before = try ground.look()
        for (number, at, values) in commands(at: "victim") where ![9, 10, 11, 19, 20, 24].contains(number) {
            var stream = StreamBuilder.planted(in: ground)
            stream.command(number, at, values)
            stream.end()
            let failure = try ground.apply(stream)
            #expect(failure?.status == .badData, "command \(number): \(failure?.what ?? "taken")")
        }
        for (number, values) in [
            (9, [(16, text("other"))]), (11, []), (19, [(6, number(7)), (7, number(7))]), (20, times),
        ]
            as [(UInt16, Values)]
        {
            var stream = StreamBuilder.planted(in: ground)
            stream.command(number, "victim", values)
            stream.end()
            #expect(try ground.apply(stream) == nil, "command \(number)")
        }
        #expect(try ground.look() == before)
    }

    /// Another name for a planted link is one for the link, not for what it names.
    @Test func hardLinkToALink() throws {
        let ground = try Ground()
        let before = try ground.look()
        var stream = StreamBuilder.planted(in: ground)
        stream.command(10, "new", [(17, text("victim"))])
        stream.command(15, "new", [(18, number(0)), (19, text("harm"))])
        stream.end()
        #expect(try ground.apply(stream)?.status == .badData)
        #expect(try ground.look() == before)
    }

    @Test(arguments: [
        "..", ".", "../x", "folder/..", "folder/../file", "./file", "/etc/x", "/", "//", "folder//x",
        "folder/",
        String(repeating: "x", count: 256), "folder/" + String(repeating: "x", count: 256), "a\0b",
        String(repeating: "folder/", count: 585) + "x", String(repeating: "x/", count: 3000),
    ])
    func pathThatIsNone(path: String) throws {
        let ground = try Ground()
        let before = try ground.look()
        for (number, at, values) in commands(at: path) {
            var stream = StreamBuilder(version: 2)
            stream.subvolume()
            stream.command(3, "file")
            stream.command(4, "folder")
            stream.command(number, at, values)
            stream.end()
            #expect(try ground.apply(stream)?.status == .badData, "command \(number)")
        }
        #expect(try ground.look() == before)
    }

    /// The root has owner, mode, times and attributes; all else needs a name.
    @Test func emptyPath() throws {
        let ground = try Ground()
        for (number, at, values) in commands(at: "") where number != 14 {
            var stream = StreamBuilder.planted(in: ground)
            stream.command(number, at, values)
            stream.end()
            let isOfRoot = [13, 18, 19, 20, 24].contains(number)
            let failure = try ground.apply(stream)
            #expect((failure == nil) == isOfRoot, "command \(number): \(failure?.what ?? "taken")")
            if !isOfRoot { #expect(failure?.status == .badData) }
        }
    }

    @Test func longestNames() throws {
        let ground = try Ground()
        let name = String(repeating: "n", count: 255)
        var stream = StreamBuilder(version: 2)
        stream.subvolume()
        var path = ""
        for _ in 0..<15 {
            path += path.isEmpty ? name : "/\(name)"
            stream.command(4, path)
        }
        stream.command(3, path + "/" + String(repeating: "f", count: 255))
        stream.end()
        // 16 names of 255 bytes and 15 slashes make 4095 bytes.
        #expect(try ground.apply(stream) == nil)
    }

    /// To open a device is to use it, and a pipe would be waited for.
    @Test(arguments: ["device", "pipe", "socket", "folder"]) func noFile(path: String) throws {
        let ground = try Ground()
        for (number, at, values) in commands(at: path) where [15, 16, 17, 23, 25].contains(number) {
            var stream = StreamBuilder.planted(in: ground)
            stream.command(number, at, values)
            stream.end()
            #expect(try ground.apply(stream)?.what == "not a regular file: \(path)")
        }
    }

    /// A folder that was open is not written to by its old name once a link has that.
    @Test func folderThatBecomesALink() throws {
        let ground = try Ground()
        let before = try ground.look()
        let swaps: [(inout StreamBuilder) -> Void] = [
            { $0.command(9, "folder", [(16, text("moved"))]) },
            {
                $0.command(11, "folder/x")
                $0.command(12, "folder")
            },
        ]
        for swap in swaps {
            var stream = StreamBuilder.planted(in: ground)
            stream.command(3, "folder/x")
            stream.command(20, "folder/x", times)
            swap(&stream)
            stream.command(9, "out", [(16, text("folder"))])
            stream.command(3, "folder/y")
            stream.end()
            #expect(try ground.apply(stream)?.status == .badData)
            #expect(try ground.look() == before)
        }
    }

    /// The file that was open is not written to by its old name once another has that.
    @Test func fileThatIsReplaced() throws {
        let ground = try Ground()
        let data: Values = [(18, number(0)), (19, text("harm"))]
        for replace in [
            { $0.command(9, "victim", [(16, text("file"))]) },
            {
                $0.command(11, "file")
                $0.command(9, "victim", [(16, text("file"))])
            },
        ] as [(inout StreamBuilder) -> Void] {
            var stream = StreamBuilder.planted(in: ground)
            stream.command(15, "file", data)
            replace(&stream)
            stream.command(15, "file", data)
            stream.end()
            #expect(try ground.apply(stream)?.what == "not a regular file: file")
        }
    }

    @Test func valuesThatAreNone() throws {
        let ground = try Ground()
        let cases: [(UInt16, String, Values)] = [
            (5, "new", [(5, number(UInt64(S_IFREG))), (8, number(0))]),
            (5, "new", [(5, number(UInt64(S_IFLNK))), (8, number(0))]),
            (5, "new", [(5, number(UInt64(S_IFBLK))), (8, number(1 << 32))]),
            (8, "new", [(17, [])]), (8, "new", [(17, [1, 0, 2])]),
            (8, "new", [(17, [UInt8](repeating: 1, count: 4096))]),
            (13, "file", [(13, text("nonsense")), (14, [])]), (13, "file", [(13, []), (14, [])]),
            (13, "file", [(13, [UInt8](repeating: 0x75, count: 300)), (14, [])]),
            (14, "file", [(13, text("user.none"))]),
            (13, "pipe", [(13, text("user.x")), (14, [1])]),
            (15, "file", [(18, number(.max)), (19, [1])]),
            (15, "file", [(18, number(1 << 63 - 1)), (19, [1, 2])]),
            (15, "file", [(18, number(1 << 62)), (19, [1])]),
            (15, "file", [(19, [1])]), (17, "file", [(4, number(1 << 63))]),
            (18, "file", [(5, number(0o10000))]),
            (19, "file", [(6, number(1 << 32 - 1)), (7, number(0))]),
            (19, "file", [(6, number(0)), (7, number(1 << 32))]),
            (
                16, "file",
                [
                    (18, number(0)), (24, number(.max)), (20, uuid), (21, number(7)), (22, text("file")),
                    (23, number(1)),
                ]
            ),
            (
                16, "file",
                [
                    (18, number(0)), (24, number(1)), (20, StreamBuilder.parentBytes), (21, number(7)),
                    (22, text("file")), (23, number(1)),
                ]
            ),
            (23, "file", [(25, little(UInt32.max)), (18, number(0)), (4, number(1))]),
            (25, "file", [(18, number(0)), (27, number(1)), (28, number(1)), (29, number(0)), (19, [1])]),
            (
                25, "file",
                [
                    (18, number(0)), (27, number(1)), (28, number(1)), (29, number(0)),
                    (30, little(UInt32(99))), (19, [1]),
                ]
            ),
            (
                25, "file",
                [
                    (18, number(0)), (27, number(1)), (28, number(1)), (29, number(0)),
                    (30, little(UInt32(2))),
                    (31, little(UInt32(1))), (19, [1]),
                ]
            ),
            (22, "file", [(18, number(0)), (4, number(9))]), (10, "new", [(17, text("folder"))]),
            (9, "folder", [(16, text("folder/inside"))]), (9, "none", [(16, text("new"))]), (3, "file", []),
            (12, "file", []), (11, "folder", []), (11, "none", []), (3, "none/new", []), (3, "file/new", []),
        ]
        for (number, path, values) in cases {
            var stream = StreamBuilder.planted(in: ground)
            stream.command(number, path, values)
            stream.end()
            let failure = try ground.apply(stream)
            #expect(failure?.status == .badData, "command \(number) at \(path): \(failure?.what ?? "taken")")
        }
    }

    /// Every attribute that a command needs, left out.
    @Test func missing() throws {
        let ground = try Ground()
        let ignored: [UInt16] = [9, 21]
        for (command, path, values) in commands(at: "file") {
            for left in values.indices where !ignored.contains(values[left].0) && values[left].0 != 30 {
                var stream = StreamBuilder.planted(in: ground)
                var rest = values
                rest.remove(at: left)
                stream.command(command, path, rest)
                stream.end()
                #expect(
                    try ground.apply(stream)?.status == .badData,
                    "command \(command) without \(values[left].0)")
            }
        }
    }
}
