import DuneSeaProtocol
import DurableFiles
import Glibc
import Plumbing
import StoreFormat

/// The folders of a directory that holds a store, open.
struct Places: Sendable {
    /// As it was given, for messages.
    let directory: String
    /// `DIR/escapepod`
    let stored: Folder
    /// `DIR/dunesea`
    let own: Folder
    /// `DIR/dunesea/uploads`
    let uploads: Folder
    /// `DIR/dunesea/domains`
    let domains: Folder

    static let ownName = "dunesea"
    static let uploadsName = "uploads"
    static let domainsName = "domains"

    /// Makes DIR's own folders, durably, where they are missing. Blocks.
    init(in directory: String) throws {
        self.directory = directory
        let top = Folder(try .folder(at: directory), patience: 30)
        stored = try top.making(Layout.root, mode: 0o700)
        own = try Places.own(in: top)
        uploads = try own.making(Places.uploadsName, mode: 0o700)
        domains = try own.making(Places.domainsName, mode: 0o700)
    }

    /// The folder that is the server's own, made where it is missing.
    static func own(in top: Folder) throws -> Folder { try top.making(ownName, mode: 0o700) }

    /// Root does in a directory of the server's user what that user could do, and no more, whatever is put in its way there;
    /// and what it makes is the user's.
    static func becomeOwner(of directory: String) throws {
        var status = stat()
        guard geteuid() == 0,
            lstat("\(directory)/\(ownName)", &status) == 0 || stat(directory, &status) == 0,
            status.st_uid != 0
        else { return }
        guard setgroups(0, nil) == 0, setegid(status.st_gid) == 0, seteuid(status.st_uid) == 0 else {
            throw Failure.system("cannot become the owner of this directory", at: directory)
        }
    }
}

/// Where a domain's files are.
struct Folders: Sendable {
    /// Of the five that follow. Whoever names, moves or removes something in them holds its lock.
    let own: Folder
    let blobs: Folder
    let metadata: Folder
    let keys: Folder
    let prunings: Folder
    let trash: Folder
    let unfinished: Folder
    /// What the server itself notes of the domain.
    let records: Folder

    /// Makes them, durably, where they are missing: what is in them first, then their own names. Blocks.
    init(of domain: Domain, in places: Places) throws {
        own = try places.stored.making(domain.description, mode: 0o700)
        blobs = try own.making(Layout.blobs, mode: 0o700)
        metadata = try own.making(Layout.metadata, mode: 0o700)
        keys = try own.making(Layout.keys, mode: 0o700)
        prunings = try own.making(Layout.prunings, mode: 0o700)
        trash = try own.making(Layout.trash, mode: 0o700)
        unfinished = try places.uploads.making(domain.description, mode: 0o700)
        records = try places.domains.making(domain.description, mode: 0o700)
    }

    var reserve: Reserve { Reserve(in: own) }

    /// - Throws: `Refusal` 424 where one of the two blobs is not there.
    func require(_ blob: Address, buildingOn parent: Address?) throws {
        guard try blobs.length(ofFile: blob.hex) != nil else {
            throw Refusal(.failedDependency, "the blob is not in the store", hint: "store the blob first")
        }
        if let parent, try blobs.length(ofFile: parent.hex) == nil {
            throw Refusal(
                .failedDependency, "what this backup builds on is not there: blob \(parent)",
                hint:
                    "escapepod verify names what is lost; escapepod backup --full-every 1h makes a full backup"
            )
        }
    }
}
