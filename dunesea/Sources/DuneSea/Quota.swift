import DuneSeaProtocol
import Plumbing
import Synchronization

/// What a domain may take up.
extension Shelf {
    var used: UInt64 { state.withLock { $0.used } }
    var backups: Int { state.withLock { $0.history.count } }

    /// - Parameter beyond: how much more than the quota may be used.
    /// - Throws: `Refusal` 507 where `bytes` more would be too much.
    func reserve(_ bytes: UInt64, beyond: UInt64 = 0) throws {
        try state.withLock { state in
            try check(bytes, on: state, beyond: beyond)
            state.used = state.used.addingClamped(bytes)
        }
    }

    func checkRoom(for bytes: UInt64) throws {
        try state.withLock { try check(bytes, on: $0) }
    }

    private func check(_ bytes: UInt64, on state: borrowing State, beyond: UInt64 = 0) throws {
        guard let limit = ground.limits.domainBytes else { return }
        let (sum, overflow) = state.used.addingReportingOverflow(bytes)
        guard !overflow, sum <= limit.addingClamped(beyond) else {
            throw Refusal(
                .insufficientStorage,
                "the domain's quota of \(limit) bytes is used up: \(state.used) are in use",
                hint:
                    "escapepod prune makes room, if its token may; or the operator of the store can raise it")
        }
    }

    /// How many bytes more it may take up; nil: what the disk holds.
    var room: UInt64? {
        state.withLock { state in ground.limits.domainBytes.map { $0 - min($0, state.used) } }
    }

    func release(_ bytes: UInt64) {
        state.withLock { $0.used -= min(bytes, $0.used) }
    }
}
