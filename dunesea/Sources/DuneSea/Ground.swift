import DurableFiles
import Glibc
import NIOPosix
import Plumbing

/// What every part of a store stands on: its folders, open, and the threads that work in them.
struct Ground: Sendable {
    let places: Places
    /// Other processes may change it meanwhile.
    let isShared: Bool
    let limits: Limits
    /// The only threads that touch the disk.
    let threads: NIOThreadPool

    /// Runs what blocks on a disk thread.
    func onDisk<Result: Sendable>(_ work: @escaping @Sendable () throws -> Result) async throws -> Result {
        try await threads.runIfActive(work)
    }

    /// The same, and something else on this thread meanwhile.
    func onDisk<Result: Sendable>(
        _ work: @escaping @Sendable () throws -> Result, meanwhile other: () -> Void
    ) async throws -> Result {
        try await withCheckedThrowingContinuation { done in
            threads.submit { state in
                guard case .active = state else {
                    return done.resume(throwing: NIOThreadPoolError.ThreadPoolInactive())
                }
                done.resume(with: Swift.Result { try work() })
            }
            other()
        }
    }

    /// Where that is, for somebody who knows nothing of this machine's paths.
    func relative(_ place: String) -> String {
        let directory = "\(places.directory)/"
        return place.hasPrefix(directory) ? String(place.dropFirst(directory.utf8.count)) : place
    }
}

extension Folder {
    /// The names in it, in no order, without those that start with a dot.
    func visibleNames() throws -> [String] { try names().filter { !$0.hasPrefix(".") } }

    /// The length of the regular file of that name; nil where there is none.
    func length(ofFile name: String) throws -> UInt64? {
        var status = stat()
        guard fstatat(number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
            if errno == ENOENT { return nil }
            throw Failure.system("cannot read", at: path(of: name))
        }
        return status.st_mode & S_IFMT == S_IFREG ? UInt64(clamping: status.st_size) : nil
    }
}

/// Random bytes from the kernel, in lower-case hex.
func randomHex(bytes: Int) -> String {
    var generator = SystemRandomNumberGenerator()
    return (0..<bytes).map { _ in UInt8.random(in: .min ... .max, using: &generator) }.hex
}
