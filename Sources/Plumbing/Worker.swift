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

/// A lock for what threads share, whose holder can wait for another's change of it.
public final class Monitor: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    public init() {
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(changed, nil)
    }

    deinit {
        pthread_cond_destroy(changed)
        pthread_mutex_destroy(mutex)
        changed.deallocate()
        mutex.deallocate()
    }

    /// Runs the closure with the lock, and then wakes all who wait.
    public func locked<Result>(_ body: () throws -> Result) rethrows -> Result {
        pthread_mutex_lock(mutex)
        defer {
            pthread_cond_broadcast(changed)
            pthread_mutex_unlock(mutex)
        }
        return try body()
    }

    /// Lets go of the lock until somebody else has had it; for use with the lock.
    public func wait() {
        pthread_cond_wait(changed, mutex)
    }

    /// The same, until that time of the real-time clock at most; returns false when it has come.
    public func wait(until deadline: timespec) -> Bool {
        var deadline = deadline
        return pthread_cond_timedwait(changed, mutex, &deadline) != ETIMEDOUT
    }
}
