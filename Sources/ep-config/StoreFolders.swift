import Glibc
import Plumbing
import Storage
import StoreFormat
import Tool

/// The folders that belong to one store: its snapshots in the volume, and what this machine knows of it.
struct StoreFolders {
    /// Their name.
    private(set) var folder: String
    /// The names that an earlier version gave them, where they are still called that and are to be renamed.
    private(set) var slotsToMove: String?
    private(set) var stateToMove: String?
    private(set) var warning: String?
    private let volume: String?
    private let states: String

    /// What this machine knows of the store.
    var state: String { "\(states)/\(folder)" }

    init(domain: Domain, volume: String?, folder: String) {
        let root = getenv("ESCAPEPOD_STATE").map { String(cString: $0) } ?? ""
        states = "\(root.isEmpty ? "/var/lib/escapepod" : root)/\(domain)"
        self.volume = volume
        self.folder = folder
    }

    /// Sees whether folders have the name that an earlier version gave them, which two stores could share; then neither gets
    /// them.
    ///
    /// - Parameters:
    ///   - isRehearsal: they keep that name, and the run goes by it.
    ///   - others: the URLs of the stores here, this one included.
    mutating func lookForEarlier(
        name earlier: String, isRehearsal: Bool, store: String, others: () -> [String]
    ) {
        let hasState = isFolder("\(states)/\(earlier)") && !exists(state)
        let hasSlots =
            volume.map {
                isFolder("\($0)/.escapepod/\(earlier)") && !exists("\($0)/.escapepod/\(folder)")
            } ?? false
        guard !earlier.isEmpty, hasState || hasSlots else { return }
        guard !isRehearsal else {
            folder = earlier
            return
        }
        let own = folder
        let rival = others().first {
            StoreURL.earlierFolderName(of: $0) == earlier && (try? StoreURL($0).folderName) != own
        }
        if let rival {
            let what = "two stores have had one folder, \(earlier): \(store) and \(rival)"
            warn(
                what,
                hint: """
                    neither takes it over: once both have a new backup, delete it in \(volume ?? "the volume")/.escapepod \
                    and in \(states)
                    """, from: "escapepod")
            warning = what
            return
        }
        slotsToMove = hasSlots ? earlier : nil
        stateToMove = hasState ? "\(states)/\(earlier)" : nil
    }
}

func isFolder(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
}
