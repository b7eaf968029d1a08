import CLinux
import Glibc
import Plumbing

/// Keeps the signals that would end the process waiting, until what is half made has been removed.
struct HeldSignals: ~Copyable {
    private var before = sigset_t()
    /// Readable once one waits.
    private let waiting: Descriptor

    init() throws {
        var held = sigset_t()
        sigemptyset(&held)
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            var action = sigaction()
            // One that is ignored, by nohup(1) for instance, ends nothing.
            guard sigaction(signal, nil, &action) == 0, action.__sigaction_handler.sa_handler == nil else {
                continue
            }
            sigaddset(&held, signal)
        }
        let number = signalfd(-1, &held, Int32(SFD_CLOEXEC))
        guard number >= 0 else { throw Failure.system("cannot block signals", at: nil) }
        waiting = Descriptor(owning: number, name: "signals")
        pthread_sigmask(SIG_BLOCK, &held, &before)
    }

    /// Waits until there is something to read.
    ///
    /// - Throws: when a signal came. It acts when they are let go.
    func wait(for source: borrowing Descriptor) throws {
        var ends = [
            pollfd(fd: source.number, events: Int16(POLLIN), revents: 0),
            pollfd(fd: waiting.number, events: Int16(POLLIN), revents: 0),
        ]
        guard retrying({ poll(&ends, 2, -1) }) > 0 else {
            throw Failure.system("cannot wait for input", at: source.name)
        }
        if ends[1].revents != 0 { throw Failure(.io, "interrupted by a signal", at: source.name) }
    }

    /// Lets them act.
    mutating func release() {
        pthread_sigmask(SIG_SETMASK, &before, nil)
    }
}
