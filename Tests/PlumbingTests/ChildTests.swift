import Glibc
import Plumbing
import Testing

@Suite struct ChildTests {
    @Test func outputAndStatus() throws {
        var child = try Child(["sh", "-c", "printf '%s|' \"$@\"; exit 7", "sh", "a b", ""])
        #expect(try child.output.readAll(limit: 100) == Array("a b||".utf8))
        let ending = try child.wait()
        #expect(ending == .status(7))
        #expect(!ending.isSuccess)
        #expect("\(ending)" == "exited with status 7")
    }

    @Test(arguments: [0, 5, Child.maximumInput])
    func anInputOfItsOwn(length: Int) throws {
        let input = [UInt8](repeating: 7, count: length)
        var child = try Child(["cat"], input: input)
        #expect(try child.output.readAll(limit: length) == input)
        let ending = try child.wait()
        #expect(ending.isSuccess)
    }

    @Test func success() throws {
        var child = try Child(["true"])
        #expect(try child.output.readAll(limit: 0) == [])
        let ending = try child.wait()
        #expect(ending.isSuccess)
    }

    @Test func signal() throws {
        var child = try Child(["sh", "-c", "kill -9 $$"])
        let ending = try child.wait()
        #expect(ending == .signal(SIGKILL))
        #expect("\(ending)" == "was killed by signal 9 (Killed)")
    }

    @Test func brokenPipeIsAsUsual() throws {
        // Tools ignore SIGPIPE; their children must not.
        let before = Glibc.signal(SIGPIPE, SIG_IGN)
        defer { Glibc.signal(SIGPIPE, before) }
        var child = try Child(["sh", "-c", "sh -c 'kill -PIPE $$; exit 3'; echo $?"])
        #expect(try child.output.readAll(limit: 100) == Array("141\n".utf8))
        _ = try child.wait()
    }

    @Test func programs() throws {
        #expect(throws: Failure(.usage, "no command to run")) { _ = try Child([]) }
        for missing in ["ep-no-such-program", "/no/such", "/etc/passwd/x"] {
            let failure = #expect(throws: Failure.self) { _ = try Child([missing]) }
            #expect(failure?.status == .unavailable)
            #expect(failure?.place == missing)
        }
        let failure = #expect(throws: Failure.self) { _ = try Child(["/etc/passwd"]) }
        #expect(failure?.status == .denied)
    }

    /// One that ignores SIGTERM still meets a closed pipe; without that this test would hang.
    @Test(.timeLimit(.minutes(1)), arguments: ["exec sleep 1000", "trap '' TERM; yes"])
    func isReapedWhenDropped(script: String) throws {
        var mark: [UInt8] = []
        do {
            let child = try Child(["sh", "-c", "echo $$; \(script)"])
            var bytes = [UInt8](repeating: 0, count: 20)
            let count = try bytes.withUnsafeMutableBytes { try child.output.read(into: $0) }
            mark = Array(bytes.prefix(count).prefix { $0 != 10 })
        }
        let process = try #require(pid_t(String(decoding: mark, as: UTF8.self)))
        #expect(kill(process, 0) == -1 && errno == ESRCH)
    }
}
