import DurableFiles
import Glibc
public import NIOPosix
import Plumbing
import StoreFormat
import Synchronization

/// The directory with everything that is kept, and in memory what an answer needs to be quick.
///
/// ```
/// DIR/escapepod/DOMAIN/blobs/SHA256                  as on a drive: escapepod-storage(7)
/// DIR/escapepod/DOMAIN/metadata/NUMBER-SHA256
/// DIR/escapepod/DOMAIN/keys/NUMBER-SHA256
/// DIR/escapepod/DOMAIN/prunings/NUMBER-SHA256
/// DIR/escapepod/DOMAIN/trash/SHA256
/// DIR/dunesea/uploads/DOMAIN/ID                      unfinished
/// DIR/dunesea/domains/DOMAIN/received                Receipts
/// DIR/dunesea/domains/DOMAIN/pruned                  Folders.pruned(by:)
/// DIR/dunesea/tokens                                 hashed
/// DIR/dunesea/lock                                   held by the one server
/// ```
/// What has a name under `escapepod` is whole and never changes: a file is written and synced elsewhere in DIR, then moved
/// there, and its new directory synced, before anybody hears of it.
public final class Store: Sendable {
    let ground: Ground
    private let lock: Lock
    static let lock = "lock"
    private let shelves = Mutex<[Domain: Shelf]>([:])

    /// Opens the directory, makes it ready where it is new, and reads what is there; shared with others, only what is asked for.
    /// Blocks.
    ///
    /// - Throws: `busy` where another server has it.
    public init(directory: String, isShared: Bool = false, limits: Limits, threads: NIOThreadPool) throws {
        ground = Ground(
            places: try Places(in: directory), isShared: isShared, limits: limits, threads: threads)
        lock = try ground.places.own.withDescriptor {
            try Lock(
                Store.lock, in: $0, isShared: isShared, within: 0,
                hint: "another dunesea serves this directory")
        }
        if !isShared { try load() }
    }

    /// Every domain's names are synced here, since a server that was killed may have named a file and not yet said so.
    private func load() throws {
        var found: [Domain: Shelf] = [:]
        for folder in [ground.places.stored, ground.places.uploads] {
            for domain in try folder.visibleNames().compactMap({ try? Domain($0) }) where found[domain] == nil
            {
                found[domain] = try Shelf(loading: domain, on: ground)
            }
        }
        shelves.withLock { $0 = found }
    }

    /// What is kept of a domain. Asking makes nothing on disk.
    func shelf(_ domain: Domain) -> Shelf {
        shelves.withLock { shelves in
            if let shelf = shelves[domain] { return shelf }
            let shelf = Shelf(domain, on: ground)
            shelves[domain] = shelf
            return shelf
        }
    }

    /// The same, as it is now.
    func shelf(of domain: Domain) async throws -> Shelf {
        let shelf = shelf(domain)
        guard ground.isShared else { return shelf }
        if shelf.folders != nil {
            try await ground.onDisk { try shelf.look() }
            return shelf
        }
        let ground = ground
        let found = try await ground.onDisk { () throws -> Shelf? in
            for folder in [ground.places.stored, ground.places.uploads]
            where try folder.folder(domain.description) != nil {
                return try Shelf(loading: domain, on: ground)
            }
            return nil
        }
        guard let found else { return shelf }
        shelves.withLock { $0[domain] = found }
        return found
    }

    var allShelves: [Shelf] { shelves.withLock { Array($0.values) } }

    /// Whether the directory still answers.
    func isThere() async -> Bool {
        let own = ground.places.own
        return
            (try? await ground.onDisk {
                faccessat(own.number, Places.uploadsName, R_OK | W_OK | X_OK, 0) == 0
            }) ?? false
    }

    /// Removes the unfinished uploads that nobody has touched for `limits.uploadAge`, and what has been in the trash for
    /// `limits.pruning.trashAge`.
    ///
    /// - Parameter failed: hears of each that cannot be removed.
    func removeStale(_ failed: (Failure) -> Void) async throws {
        for shelf in allShelves {
            do { try await shelf.emptyTrash() } catch let failure as Failure { failed(failure) }
            for upload in shelf.uploads where upload.idle >= ground.limits.uploadAge {
                do {
                    try await upload.abandon()
                } catch let failure as Failure {
                    failed(failure)
                }
            }
        }
    }
}
