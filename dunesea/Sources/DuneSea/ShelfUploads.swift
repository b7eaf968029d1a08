import DuneSeaProtocol
import HTTPTypes
import Synchronization

/// The unfinished uploads of a domain.
extension Shelf {
    var uploads: [Upload] { state.withLock { Array($0.uploads.values) } }

    func upload(_ id: String) throws -> Upload {
        guard let upload = state.withLock({ $0.uploads[id] }) else {
            throw Refusal(
                .notFound, "no such unfinished upload",
                hint: "it was finished, or removed after a fault or for its age; start a new one")
        }
        return upload
    }

    /// Opens an upload.
    ///
    /// - Throws: `Refusal` 429 where there are too many unfinished ones.
    func open() async throws -> Upload {
        let folders = try await ready()
        let id = randomHex(bytes: 16)
        let upload = Upload(id, in: folders.unfinished, on: self, ground)
        try state.withLock { state in
            guard state.uploads.count < ground.limits.uploads else {
                throw Refusal(
                    .tooManyRequests,
                    "the domain has \(state.uploads.count) unfinished uploads, the maximum",
                    hint: "finish or DELETE one, or wait until they are removed for their age",
                    headers: [.retryAfter: "60"])
            }
            state.uploads[id] = upload
        }
        do {
            try await upload.create()
        } catch {
            forget(upload)
            throw error
        }
        return upload
    }

    func forget(_ upload: Upload) {
        state.withLock { _ = $0.uploads.removeValue(forKey: upload.id) }
    }
}
