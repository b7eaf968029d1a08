import CFuzzer
import Glibc
import Plumbing

/// What is done with each input: it may throw whatever a tool or the server says of bad bytes, and nothing else.
public typealias Target = (_ input: [UInt8]) throws -> Void

nonisolated(unsafe) private var chosen: Target?

/// Runs libFuzzer on the target that the environment names as `TARGET`; the arguments are libFuzzer's.
public func fuzz(_ targets: [String: Target]) -> Never {
    let name = getenv("TARGET").map { String(cString: $0) } ?? ""
    guard let target = targets[name] else {
        // For the script: what there is.
        print(targets.keys.sorted().joined(separator: "\n"))
        exit(name.isEmpty ? 0 : 64)
    }
    chosen = target
    signal(SIGPIPE, SIG_IGN)
    var count = CommandLine.argc
    var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv
    exit(
        LLVMFuzzerRunDriver(&count, &arguments) { bytes, count in
            attempt(Array(UnsafeBufferPointer(start: bytes, count: count)))
            return 0
        })
}

private func attempt(_ input: [UInt8]) {
    do {
        try chosen?(input)
    } catch let failure as Failure {
        hold(failure.status != .bug, "a bug: \(failure)")
    } catch {
        fatalError("no Failure: \(error)")
    }
}

/// Ends the run, and so finds the input, where what must be so is not.
public func hold(
    _ holds: Bool, _ what: @autoclosure () -> String, file: StaticString = #fileID, line: UInt = #line
) {
    guard holds else { fatalError(what(), file: file, line: line) }
}

/// What the body returns, or nil where the bytes were refused for what they are; another failure goes on.
public func accepted<Result>(_ body: () throws -> Result) throws -> Result? {
    do { return try body() } catch let failure as Failure where failure.status == .badData { return nil }
}

/// Whether the bytes were not refused for what they are.
public func isAccepted(_ body: () throws -> Void) throws -> Bool {
    try accepted {
        try body()
        return true
    } ?? false
}
