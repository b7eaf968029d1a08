import DurableFiles
import Glibc
import Plumbing
import Testing

/// How something comes to be there, whoever puts it: whole under its name, or not at all.
@Suite struct Naming {
    private let scratch: Scratch
    private let folder: Folder
    private let staging: Folder

    init() throws {
        scratch = try Scratch()
        let root = Folder(try .folder(at: scratch.path))
        folder = try root.making("there")
        staging = try root.making("staging")
    }

    private func put(_ text: String, taken: Folder.Taken) -> Plumbing.ExitStatus {
        status {
            try folder.put(
                Array(text.utf8), as: "name", stagedAs: "staged", in: staging, mode: 0o640, taken: taken)
        }
    }

    private var content: String {
        get throws { String(decoding: try folder.read("name", limit: 100), as: UTF8.self) }
    }

    @Test func aTakenNameIsRefusedOrReplaced() throws {
        #expect(put("one", taken: .refused) == .done)
        #expect(put("two", taken: .refused) == .io)
        #expect(try content == "one")
        #expect(put("three", taken: .replaced) == .done)
        #expect(try content == "three")
        #expect(try folder.open("name", O_RDONLY).status().st_mode & 0o777 == 0o640)
        #expect(try folder.names() == ["name"])
        #expect(try staging.names().isEmpty)
    }

    @Test func whatADeadWriterLeftIsInNobodysWay() throws {
        try scratch.write([7], to: "staging/staged")
        #expect(put("one", taken: .refused) == .done)
        #expect(try content == "one")
        #expect(try staging.names().isEmpty)
    }

    @Test func aLinkIsReplacedAndNeverFollowed() throws {
        try scratch.write(Array("mine".utf8), to: "elsewhere")
        #expect(symlink("../elsewhere", "\(scratch.path)/there/name") == 0)
        #expect(status { _ = try folder.file("name", O_RDONLY) } == .io)
        #expect(status { _ = try folder.length(of: "name") } == .badData)
        #expect(put("one", taken: .refused) == .io)
        #expect(put("one", taken: .replaced) == .done)
        #expect(try content == "one")
        #expect(try scratch.read("elsewhere") == Array("mine".utf8))
    }

    @Test func aFileIsReadAndWrittenByOffset() throws {
        let file = try folder.file("file", O_RDWR | O_CREAT, mode: 0o600)
        try [1, 2, 3, 4].withUnsafeBytes { try file.write($0, at: 0) }
        try file.paceWriteBack(from: 0, to: UInt64(4 * MemoryLayout<Int>.size), window: 8)
        #expect(try file.length() == UInt64(4 * MemoryLayout<Int>.size))
        #expect(try file.read(at: 8, count: 1) == [2])
        #expect(try file.read(at: 30, count: 10) == [0, 0])
        #expect(try file.read(at: 99, count: 10).isEmpty)
    }
}
