import Synchronization

/// Lets one task in at a time, in the order in which they came, and blocks no thread meanwhile.
final class AsyncMutex: Sendable {
    private struct State {
        var taken = false
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    private let state = Mutex(State())

    func withLock<Result>(_ body: () async throws -> sending Result) async rethrows -> sending Result {
        await enter()
        defer { leave() }
        return try await body()
    }

    private func enter() async {
        await withCheckedContinuation { continuation in
            let free = state.withLock { state in
                defer { state.taken = true }
                if state.taken { state.waiting.append(continuation) }
                return !state.taken
            }
            if free { continuation.resume() }
        }
    }

    private func leave() {
        let next = state.withLock { state in
            guard state.waiting.isEmpty else { return Optional(state.waiting.removeFirst()) }
            state.taken = false
            return nil
        }
        next?.resume()
    }
}
