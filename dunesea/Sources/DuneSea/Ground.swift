import DurableFiles
import Glibc
import NIOPosix
import Plumbing
import StoreFormat

/// What every part of a store stands on: its folders, open, and the threads that work in them.
struct Ground: Sendable {
    /// As it was given, for messages.
    let directory: String
    /// `DIR/escapepod`
    let stored: Folder
    /// `DIR/dunesea`
    let own: Folder
    /// `DIR/dunesea/uploads`
    let uploads: Folder
    let limits: Limits
    /// The only threads that touch the disk.
    let threads: NIOThreadPool

    static let ownName = "dunesea"
    static let uploadsName = "uploads"

    /// Makes DIR's own folders, durably, where they are missing. Blocks.
    init(directory: String, limits: Limits, threads: NIOThreadPool) throws {
        self.directory = directory
        self.limits = limits
        self.threads = threads
        let top = Folder(try .folder(at: directory))
        stored = try top.making(Layout.root, mode: 0o700)
        own = try Ground.own(in: top)
        uploads = try own.making(Ground.uploadsName, mode: 0o700)
    }

    /// The folder that is the server's own, made where it is missing.
    static func own(in top: Folder) throws -> Folder { try top.making(ownName, mode: 0o700) }

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
        place.hasPrefix("\(directory)/") ? String(place.dropFirst(directory.utf8.count + 1)) : place
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
