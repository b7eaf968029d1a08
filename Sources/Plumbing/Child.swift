import CLinux
import Glibc

/// A command that runs beside us, its standard output in a pipe that we read.
///
/// It shares our standard error, and our standard input where it gets none of its own. SIGPIPE ends it as usual, though
/// the tools ignore that signal themselves. Read `output` to its end, then `wait`: only its ending tells whether the
/// output was whole. A value that goes out of scope before that closes the pipe, ends the command with SIGTERM and reaps
/// it.
public struct Child: ~Copyable {
    /// What the command writes; messages name it `output of PROGRAM`.
    public let output: Descriptor
    private let program: String
    private var process: pid_t?

    /// The most that an input may have: what a pipe holds without a reader.
    public static let maximumInput = 64 << 10

    /// Starts a command whose standard input and output are a socket; what it writes to standard error is its `output`.
    ///
    /// - Throws: as the other one.
    public init(_ command: [String], on socket: borrowing Descriptor) throws {
        guard let program = command.first, !program.isEmpty else {
            throw Failure(.usage, "no command to run")
        }
        var ends: [Int32] = [-1, -1]
        guard linux_pipe(&ends) == 0 else { throw Failure.system("cannot create a pipe", at: program) }
        let output = Descriptor(owning: ends[0], name: "messages of \(program)")
        let written = Descriptor(owning: ends[1], name: "messages of \(program)")
        self.process = try Child.spawn(
            program, command, from: socket.number, to: socket.number, complaining: written.number)
        self.program = program
        self.output = output
    }

    /// Starts a command.
    ///
    /// - Parameters:
    ///   - command: the program, looked up in PATH where it has no slash, and its arguments.
    ///   - input: its standard input, at most `maximumInput` bytes; nil for ours.
    /// - Throws: `unavailable` where there is no such program, `denied` where it may not be run.
    public init(_ command: [String], input: [UInt8]? = nil) throws {
        guard let program = command.first, !program.isEmpty else {
            throw Failure(.usage, "no command to run")
        }
        var ends: [Int32] = [-1, -1]
        guard linux_pipe(&ends) == 0 else { throw Failure.system("cannot create a pipe", at: program) }
        let output = Descriptor(owning: ends[0], name: "output of \(program)")
        let written = Descriptor(owning: ends[1], name: "output of \(program)")
        output.widenPipe()
        if let input {
            precondition(input.count <= Child.maximumInput)
            guard linux_pipe(&ends) == 0 else { throw Failure.system("cannot create a pipe", at: program) }
            let read = Descriptor(owning: ends[0], name: "input of \(program)")
            try Descriptor(owning: ends[1], name: "input of \(program)").write(input)
            self.process = try Child.spawn(program, command, from: read.number, to: written.number)
        } else {
            self.process = try Child.spawn(program, command, from: nil, to: written.number)
        }
        self.program = program
        self.output = output
    }

    deinit {
        guard let process else { return }
        // First the pipe: whoever writes to it must not wait for us while we wait for it.
        try? output.close()
        kill(process, SIGTERM)
        _ = try? Child.reap(process, program)
    }

    /// Waits until the command has ended.
    public mutating func wait() throws -> Ending {
        guard let process else { throw Failure(.bug, "waited for twice", at: program) }
        self.process = nil
        return try Child.reap(process, program)
    }

    /// Waits for so many seconds until the command has ended, then ends it with SIGTERM.
    public mutating func end(within seconds: Double) throws -> Ending {
        guard let process else { throw Failure(.bug, "waited for twice", at: program) }
        for _ in 0..<Int(seconds * 100) {
            var status = siginfo_t()
            // Left to be reaped.
            guard waitid(P_PID, id_t(process), &status, WEXITED | WNOHANG | WNOWAIT) == 0 else { break }
            if status._sifields._sigchld.si_pid == process { return try wait() }
            poll(nil, 0, 10)
        }
        kill(process, SIGTERM)
        return try wait()
    }

    /// Runs a command to its end, and forgets its output.
    ///
    /// - Parameter input: its standard input, at most `maximumInput` bytes.
    /// - Throws: as `init`.
    public static func ending(of command: [String], input: [UInt8] = []) throws -> Ending {
        var child = try Child(command, input: input)
        try child.output.drain()
        return try child.wait()
    }

    /// How a command ended. Its description goes on from the command's name: `btrfs exited with status 1`.
    public enum Ending: Equatable, Sendable, CustomStringConvertible {
        case status(Int32)
        case signal(Int32)

        public var isSuccess: Bool { self == .status(0) }

        public var description: String {
            switch self {
            case .status(let status): "exited with status \(status)"
            case .signal(let signal): "was killed by signal \(signal) (\(String(cString: strsignal(signal))))"
            }
        }
    }

    private static func spawn(
        _ program: String, _ command: [String], from input: Int32?, to output: Int32,
        complaining messages: Int32? = nil
    ) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        var attributes = posix_spawnattr_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawnattr_init(&attributes)
        var arguments = command.map { strdup($0) } + [nil]
        defer {
            posix_spawn_file_actions_destroy(&actions)
            posix_spawnattr_destroy(&attributes)
            for argument in arguments { free(argument) }
        }
        var signals = sigset_t()
        sigemptyset(&signals)
        // Threads may block signals, and a command that inherits that could not be ended.
        posix_spawnattr_setsigmask(&attributes, &signals)
        sigaddset(&signals, SIGPIPE)
        posix_spawnattr_setsigdefault(&attributes, &signals)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))
        if let input { posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO) }
        posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
        if let messages { posix_spawn_file_actions_adddup2(&actions, messages, STDERR_FILENO) }
        var process: pid_t = 0
        switch posix_spawnp(&process, program, &actions, &attributes, &arguments, environ) {
        case 0: return process
        case ENOENT, ENOTDIR:
            throw Failure(
                .unavailable, "no such program", at: program,
                hint: "install it, or add its folder to PATH")
        case let code: throw Failure.system("cannot run", at: program, errno: code)
        }
    }

    private static func reap(_ process: pid_t, _ program: String) throws -> Ending {
        var status: Int32 = 0
        guard retrying({ waitpid(process, &status, 0) }) == process else {
            throw Failure.system("cannot wait", at: program)
        }
        // waitpid(2): the signal in the low seven bits, else the exit status in the second byte.
        let signal = status & 0x7f
        return signal == 0 ? .status(status >> 8 & 0xff) : .signal(signal)
    }
}
