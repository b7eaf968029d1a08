import DurableFiles
import Plumbing
import StoreFormat
import Synchronization

/// One domain in a store: its blobs, its history, its keys, its unfinished uploads.
final class Shelf: Sendable {
    let domain: Domain
    let ground: Ground
    let state: Mutex<State>
    /// Held by whoever gives a file its name.
    let naming = AsyncMutex()

    struct State {
        /// Oldest first, as the others; the last one is the head.
        private(set) var history: [History.Entry] = []
        private(set) var position: [Address: Int] = [:]
        var keys: [History.Entry] = []
        var prunings: [History.Entry] = []
        var uploads: [String: Upload] = [:]
        /// Bytes of blobs, those in the trash too, of metadata, keys, records of prunings and unfinished uploads.
        var used: UInt64 = 0
        /// Nil until they are there and durable.
        var folders: Folders?

        mutating func setHistory(_ entries: [History.Entry]) {
            (history, position) = ([], [:])
            for entry in entries { append(entry) }
        }

        mutating func append(_ backup: History.Entry) {
            position[backup.address] = history.count
            history.append(backup)
        }
    }

    /// A domain without anything.
    init(_ domain: Domain, on ground: Ground) {
        self.domain = domain
        self.ground = ground
        state = Mutex(State())
    }
}

// MARK: - Starting

extension Shelf {
    /// Reads what is there, and makes it durable. Blocks.
    convenience init(loading domain: Domain, on ground: Ground) throws {
        self.init(domain, on: ground)
        let folders = try makeFolders()
        folders.reserve.make()
        var found = State()
        found.folders = folders
        for folder in [folders.blobs, folders.trash] {
            for name in try folder.visibleNames() where (try? Address(name)) != nil {
                found.used = found.used.addingClamped(try folder.length(ofFile: name) ?? 0)
            }
        }
        found.setHistory(try entries(of: folders.metadata, countedIn: &found.used))
        found.keys = try entries(of: folders.keys, countedIn: &found.used)
        found.prunings = try entries(of: folders.prunings, countedIn: &found.used)
        try folders.own.locked {
            for name in try folders.unfinished.visibleNames() where !Upload.isID(name) {
                // A document or a key whose writer was killed.
                try folders.unfinished.delete(name)
            }
        }
        for name in try folders.unfinished.visibleNames() where Upload.isID(name) {
            let upload = try Upload(resuming: name, in: folders.unfinished, on: self, ground)
            found.uploads[name] = upload
            found.used = found.used.addingClamped(upload.offset)
        }
        state.withLock { $0 = found }
    }

    /// Takes notice of what others have done meanwhile. Blocks.
    func look() throws {
        guard let folders else { return }
        let history = try entries(of: folders.metadata)
        let keys = try entries(of: folders.keys)
        let prunings = try entries(of: folders.prunings)
        let there = Set(try folders.unfinished.visibleNames().filter(Upload.isID))
        let known = state.withLock { Set($0.uploads.keys) }
        let others = try there.subtracting(known).map {
            try Upload(resuming: $0, in: folders.unfinished, on: self, ground)
        }
        state.withLock { state in
            state.setHistory(history)
            state.keys = keys
            state.prunings = prunings
            for id in known.subtracting(there) { state.uploads[id] = nil }
            for upload in others { state.uploads[upload.id] = upload }
        }
    }

    private func entries(of folder: Folder, countedIn bytes: inout UInt64) throws -> [History.Entry] {
        let entries = try entries(of: folder)
        for entry in entries {
            bytes = bytes.addingClamped(try folder.length(ofFile: entry.name) ?? 0)
        }
        return entries
    }

    /// What is in them first, then their own names: `making` syncs the folder above.
    private func makeFolders() throws -> Folders {
        let folders = try Folders(of: domain, in: ground.places)
        // A server that was killed may have named a file and not yet said so.
        for folder in [
            folders.unfinished, folders.blobs, folders.metadata, folders.keys, folders.prunings,
            folders.trash,
        ] { try folder.sync() }
        return folders
    }

    func entries(of folder: Folder) throws -> [History.Entry] {
        try History(of: folder.visibleNames(), at: folder.path(of: "")).entries
    }

    /// The folders, made where the domain has none yet.
    func ready() async throws -> Folders {
        if let folders { return folders }
        return try await naming.withLock {
            if let folders { return folders }
            let made = try await ground.onDisk { try self.makeFolders() }
            state.withLock { $0.folders = made }
            return made
        }
    }

    /// Nil where the domain has none yet, and so nothing in them.
    var folders: Folders? { state.withLock { $0.folders } }
}
