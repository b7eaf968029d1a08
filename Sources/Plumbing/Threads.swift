public import Glibc

/// A thread that runs one closure. Whoever makes it joins it, once.
public struct Worker: Sendable {
    private let thread: pthread_t

    public init(_ work: @escaping @Sendable () -> Void) throws {
        let box = Unmanaged.passRetained(Work(run: work))
        var thread = pthread_t()
        let error = pthread_create(
            &thread, nil,
            { argument in
                argument.map { Unmanaged<Work>.fromOpaque($0).takeRetainedValue().run() }
                return nil
            }, box.toOpaque())
        guard error == 0 else {
            box.release()
            throw Failure.system("cannot start a thread", at: nil, errno: error)
        }
        self.thread = thread
    }

    public func join() {
        pthread_join(thread, nil)
    }
}

private final class Work {
    let run: @Sendable () -> Void

    init(run: @escaping @Sendable () -> Void) { self.run = run }
}

/// A lock for what threads share.
public final class Monitor: @unchecked Sendable {
    fileprivate let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)

    public init() { pthread_mutex_init(mutex, nil) }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    /// Runs the closure while no other thread has the lock.
    public func locked<Result>(_ body: () throws -> Result) rethrows -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body()
    }
}

/// Something that threads wait for, with the lock of its monitor: each looks itself whether it has come.
public final class Condition: @unchecked Sendable {
    private let monitor: Monitor
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    public init(of monitor: Monitor) {
        self.monitor = monitor
        pthread_cond_init(condition, nil)
    }

    deinit {
        pthread_cond_destroy(condition)
        condition.deallocate()
    }

    /// Lets go of the lock until another thread calls `broadcast` or `signal`, or for no reason.
    public func wait() { pthread_cond_wait(condition, monitor.mutex) }

    /// The same, until that time of the real-time clock at most; false when it has come.
    public func wait(until deadline: timespec) -> Bool {
        var deadline = deadline
        return pthread_cond_timedwait(condition, monitor.mutex, &deadline) != ETIMEDOUT
    }

    /// Wakes all who wait.
    public func broadcast() { pthread_cond_broadcast(condition) }

    /// Wakes one of them.
    public func signal() { pthread_cond_signal(condition) }
}
