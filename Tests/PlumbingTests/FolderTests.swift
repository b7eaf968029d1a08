import Glibc
import Plumbing
import Testing

/// A folder of its own, in /tmp, that goes with the value; everything in it is root's unless it is given away.
final class Ground {
    let path: String

    init() throws {
        var template = Array("/tmp/escapepod-tests-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw Failure.system("cannot make", at: "/tmp") }
        path = String(cString: made)
    }

    deinit {
        var child = try? Child(["rm", "-rf", path])
        _ = try? child?.wait()
    }

    func folder(_ name: String, mode: mode_t = 0o755, owner: uid_t? = nil) -> String {
        mkdir("\(path)/\(name)", 0o700)
        chmod("\(path)/\(name)", mode)
        if let owner { chown("\(path)/\(name)", owner, owner) }
        return "\(path)/\(name)"
    }

    func link(_ name: String, to target: String, owner: uid_t? = nil) -> String {
        symlink(target, "\(path)/\(name)")
        if let owner { lchown("\(path)/\(name)", owner, owner) }
        return "\(path)/\(name)"
    }

    func content(_ name: String) throws -> String {
        String(
            decoding: try Descriptor(opening: "\(path)/\(name)", O_RDONLY).readAll(limit: 100), as: UTF8.self)
    }

    func names(_ folder: String) -> [String] {
        guard let stream = opendir("\(path)/\(folder)") else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            names.append(
                withUnsafePointer(to: &entry.pointee.d_name) {
                    String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
                })
        }
        return names.filter { $0 != "." && $0 != ".." }.sorted()
    }
}

private func isRefused(_ body: () throws -> Void) -> Bool {
    do {
        try body()
        return false
    } catch {
        return (error as? Failure)?.status == .denied
    }
}

@Suite struct FolderTests {
    private let ground: Ground

    init() throws { ground = try Ground() }

    @Test func aLinkOfOursIsFollowed() throws {
        let target = ground.folder("target")
        let link = ground.link("link", to: "target")
        let again = ground.link("again", to: "./link/../link")
        for path in [target, link, again, "\(again)/", "\(target)/../link/."] {
            var there = stat()
            stat(target, &there)
            #expect(try Descriptor.folder(at: path).status().st_ino == there.st_ino)
        }
    }

    @Test(arguments: [(0o777, nil), (0o775, nil), (0o755, 1234), (0o1777, nil)] as [(mode_t, uid_t?)])
    func aLinkThatOthersCanHavePutThereIsNot(mode: mode_t, owner: uid_t?) throws {
        _ = ground.folder("target")
        _ = ground.folder("open", mode: mode, owner: owner)
        _ = ground.folder("open/inside")
        _ = ground.link("open/link", to: "../target", owner: 1234)
        #expect(isRefused { _ = try Descriptor.folder(at: "\(ground.path)/open/link") })
        #expect(isRefused { _ = try Descriptor.folder(at: "\(ground.path)/open/link/../target") })
        // A folder is what it is, whoever can exchange it.
        _ = try Descriptor.folder(at: "\(ground.path)/open/inside")
    }

    @Test func aFileIsReadThroughOurLinksAlone() throws {
        for folder in ["closed", "open"] {
            _ = ground.folder(folder)
            try AtomicFile.write(
                Array("secret".utf8), to: "\(ground.path)/\(folder)/file", mode: 0o600, replacing: false)
            _ = ground.link("\(folder)/link", to: "file")
        }
        _ = ground.folder("open", mode: 0o777)
        for name in ["closed/file", "closed/link", "open/file"] {
            let file = try Descriptor.file(at: "\(ground.path)/\(name)")
            #expect(try file.readAll(limit: 100) == Array("secret".utf8))
        }
        #expect(isRefused { _ = try Descriptor.file(at: "\(ground.path)/open/link") })
        // As the shell gives the output of a command.
        _ = try Descriptor.file(at: "/dev/fd/0")
    }

    @Test func aLinkOfOursInAStickyFolderIsFollowed() throws {
        _ = ground.folder("target")
        _ = ground.folder("open", mode: 0o1777)
        _ = try Descriptor.folder(at: ground.link("open/link", to: "../target"))
    }

    @Test func circlesAndFilesAndNothingAreFailures() throws {
        for path in [
            ground.link("circle", to: "circle"), "/dev/null", "\(ground.path)/absent", "/dev/null/x",
        ] {
            #expect(throws: Failure.self) { _ = try Descriptor.folder(at: path) }
        }
    }

    @Test func privateIsOursAndShut() throws {
        for (name, mode, owner, isPrivate) in [
            ("a", 0o700, nil, true), ("b", 0o711, nil, false), ("c", 0o720, nil, false),
            ("d", 0o700, 1234, false),
        ] as [(String, mode_t, uid_t?, Bool)] {
            let folder = try Descriptor.folder(at: ground.folder(name, mode: mode, owner: owner))
            #expect(isRefused { try folder.requirePrivate(hint: "") } != isPrivate)
        }
    }

    @Test func aFileReplacesALinkAndNotWhatItPointsTo() throws {
        let before = ground.folder("a")
        try AtomicFile.write(Array("precious".utf8), to: "\(before)/target", mode: 0o600, replacing: false)
        _ = ground.link("a/link", to: "target")
        try AtomicFile.write(Array("new".utf8), to: "\(before)/link", mode: 0o644, replacing: true)
        #expect(try ground.content("a/target") == "precious")
        #expect(try ground.content("a/link") == "new")
        #expect(try Descriptor(opening: "\(before)/link", O_RDONLY).status().st_mode & 0o7777 == 0o644)
        #expect(ground.names("a") == ["link", "target"])
    }

    @Test func aTakenNameIsNotReplacedAndNothingIsLeft() throws {
        _ = ground.folder("a")
        _ = ground.link("a/dangling", to: "elsewhere")
        #expect(throws: Failure.self) {
            try AtomicFile.write([], to: "\(ground.path)/a/dangling", mode: 0o600, replacing: false)
        }
        #expect(ground.names("a") == ["dangling"])
    }

    @Test func aFileIsNotWrittenThroughALinkOnTheWay() throws {
        _ = ground.folder("target")
        _ = ground.folder("open", mode: 0o777)
        _ = ground.link("open/link", to: "../target", owner: 1234)
        #expect(
            isRefused {
                try AtomicFile.write([], to: "\(ground.path)/open/link/file", mode: 0o600, replacing: true)
            })
        #expect(ground.names("target") == [])
    }
}
