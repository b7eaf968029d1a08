import Glibc
import Plumbing
import Sealing

/// The terminal, where a person types what the screen must not show.
enum Terminal {
    /// The terminal's settings before, for the signal handler, to which nothing can be passed.
    private nonisolated(unsafe) static let before = UnsafeMutablePointer<termios>.allocate(capacity: 1)
    private nonisolated(unsafe) static var number: Int32 = -1

    /// Asks for a passphrase, without echo. The terminal is restored afterwards, also when a signal ends the process.
    ///
    /// - Parameter asTyped: every space counts.
    static func ask(_ question: String, asTyped: Bool = false) throws -> Passphrase {
        let terminal = try open()
        guard tcgetattr(terminal.number, before) == 0 else {
            throw Failure.system("cannot read the terminal settings", at: terminal.name)
        }
        number = terminal.number
        // A signal that would end us still does, but the terminal is restored first.
        let actions = [SIGINT, SIGTERM, SIGHUP, SIGQUIT].map { ($0, signal($0, restoreAndDie)) }
        let stopping = signal(SIGTSTP, SIG_IGN)
        defer {
            tcsetattr(number, TCSAFLUSH, before)
            for (number, action) in actions { signal(number, action) }
            signal(SIGTSTP, stopping)
        }
        var silent = before.pointee
        silent.c_lflag &= ~tcflag_t(ECHO)
        guard tcsetattr(terminal.number, TCSAFLUSH, &silent) == 0 else {
            throw Failure.system("cannot turn off echo", at: terminal.name)
        }
        try terminal.write(Array(question.utf8))
        return try Passphrase(from: "terminal", asTyped: asTyped) { bytes in
            var count = 0
            while count < bytes.count {
                let fresh = try terminal.read(into: .init(rebasing: bytes[count...]))
                count += fresh
                if fresh == 0 || bytes[count - 1] == UInt8(ascii: "\n") { break }
            }
            try terminal.write(Array("\n".utf8))
            return count
        }
    }

    private static func open() throws -> Descriptor {
        do {
            return try Descriptor(opening: "/dev/tty", O_RDWR | O_NOCTTY)
        } catch {
            throw Failure(
                .usage, "no terminal on which to ask for the passphrase",
                hint: "use --passphrase-file or --passphrase-command")
        }
    }

    private static let restoreAndDie: @convention(c) (Int32) -> Void = { received in
        tcsetattr(Terminal.number, TCSAFLUSH, Terminal.before)
        signal(received, SIG_DFL)
        raise(received)
    }
}
