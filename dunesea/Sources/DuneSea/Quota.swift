import DuneSeaProtocol
import Plumbing
import Synchronization

/// What a domain may take up.
extension Shelf {
    var used: UInt64 { state.withLock { $0.used } }
    var backups: Int { state.withLock { $0.history.count } }

    /// - Throws: `Refusal` 507 where `bytes` more would be too much.
    func reserve(_ bytes: UInt64) throws {
        try state.withLock { state in
            try check(bytes, on: state)
            state.used = state.used.addingClamped(bytes)
        }
    }

    func checkRoom(for bytes: UInt64) throws {
        try state.withLock { try check(bytes, on: $0) }
    }

    private func check(_ bytes: UInt64, on state: borrowing State) throws {
        guard let limit = ground.limits.domainBytes else { return }
        let (sum, overflow) = state.used.addingReportingOverflow(bytes)
        guard !overflow, sum <= limit else {
            throw Refusal(
                .insufficientStorage,
                "the domain's quota of \(limit) bytes is used up: \(state.used) are in use",
                hint: "the operator of the store can raise it")
        }
    }

    func release(_ bytes: UInt64) {
        state.withLock { $0.used -= min(bytes, $0.used) }
    }
}
