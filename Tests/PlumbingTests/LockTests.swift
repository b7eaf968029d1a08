import Glibc
import Plumbing
import Testing

@Suite struct LockTests {
    private let ground: Ground

    init() throws { ground = try Ground() }

    private func failure(_ body: () throws -> Void) -> Failure? {
        do { try body() } catch { return error as? Failure }
        return nil
    }

    @Test func itIsHeldForAsLongAsItLivesAndSaysByWhom() throws {
        let folder = try Descriptor.folder(at: ground.path)
        do {
            let lock = try Lock("lock", in: folder, within: 0)
            let busy = failure { _ = try Lock("lock", in: folder, within: 0.1) }
            #expect(busy?.status == .busy)
            #expect(busy?.what.hasPrefix("locked by process \(getpid()), ") == true)
            #expect(busy?.place == "\(ground.path)/lock")
            withExtendedLifetime(lock) {}
        }
        _ = try Lock("lock", in: folder, within: 0)
        #expect(try ground.content("lock") == "")
        let status = try Descriptor(opening: "lock", in: folder, O_RDONLY).status()
        #expect(status.st_mode & 0o7777 == 0o600)
    }

    @Test func whatItSaysIsNotOfTheOneBefore() throws {
        let folder = try Descriptor.folder(at: ground.path)
        try AtomicFile.write(
            Array(String(repeating: "x", count: 5000).utf8), to: "\(ground.path)/lock", mode: 0o666,
            replacing: false)
        let lock = try Lock("lock", in: folder, within: 0)
        #expect(failure { _ = try Lock("lock", in: folder, within: 0) }?.what.contains("xx") == false)
        #expect(try Descriptor(opening: "lock", in: folder, O_RDONLY).status().st_mode & 0o077 == 0)
        withExtendedLifetime(lock) {}
    }

    @Test func itIsNoLinkAndNothingThatIsSomebodys() throws {
        let folder = try Descriptor.folder(at: ground.path)
        try AtomicFile.write(
            Array("precious".utf8), to: "\(ground.path)/precious", mode: 0o600, replacing: false)
        _ = ground.link("soft", to: "precious")
        link("\(ground.path)/precious", "\(ground.path)/hard")
        _ = ground.folder("folder")
        mkfifo("\(ground.path)/pipe", 0o600)
        for name in ["soft", "hard", "folder", "pipe"] {
            #expect(throws: Failure.self) { _ = try Lock(name, in: folder, within: 0) }
        }
        #expect(try ground.content("precious") == "precious")
    }
}
