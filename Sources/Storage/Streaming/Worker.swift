import Glibc
import Plumbing

/// A thread that runs one closure. Whoever makes it joins it, once.
struct Worker {
    private let thread: pthread_t

    init(_ work: @escaping @Sendable () -> Void) throws {
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

    func join() {
        pthread_join(thread, nil)
    }
}

private final class Work {
    let run: @Sendable () -> Void

    init(run: @escaping @Sendable () -> Void) { self.run = run }
}
