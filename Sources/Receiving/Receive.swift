import Glibc
public import Plumbing
import SendStream
public import Snapshots

/// Reads one whole send stream, of protocol 1 or 2, and makes the subvolume that it is of: read-only, with the received
/// UUID, both at the very end, and after its data has come to stable storage. Files that its record of inode flags names have
/// no copy-on-write then.
///
/// Nothing that a stream says reaches outside that subvolume, and no name in it decides where that is. Data is shared with
/// the subvolume itself and its parent only. Whatever fails, what was made is deleted again, and so it is after SIGINT,
/// SIGTERM and SIGHUP, which take effect then. What a call that was killed left, a writable subvolume of that name without
/// a received UUID, the next one deletes first.
///
/// - Parameters:
///   - source: read to its end.
///   - name: what the subvolume is called; the stream's own name for it is ignored.
///   - folder: on btrfs, and ours alone, with mode 0700 or less.
///   - uuid: which subvolume the stream must be of.
///   - parent: for an incremental stream the name, in `folder` too, of the read-only subvolume that it builds upon: which
///     has the UUID that the stream names, or was received with it.
///   - note: is told, once, where the data are decompressed since they cannot be written as they are.
/// - Throws: `badData` for a stream that is cut, damaged, hostile, another one, or upon another parent; `busy` where there
///   is something of that name; `denied` where others can reach `folder`.
public func receive(
    from source: borrowing Descriptor, as name: String, in folder: borrowing Descriptor,
    expecting uuid: String,
    upon parent: String?,
    note: @escaping (String) -> Void
) throws -> Snapshot {
    try folder.requirePrivate(hint: "receive into a folder that is yours and has mode 0700")
    for name in [name, parent].compactMap(\.self) {
        guard (1...Int(NAME_MAX)).contains(name.utf8.count), !name.utf8.contains(UInt8(ascii: "/")),
            name != ".", name != ".."
        else {
            throw Failure(
                .usage, "not a valid name for a subvolume", at: name, hint: "one name, without slashes")
        }
    }
    guard name != parent else { throw Failure(.usage, "a subvolume cannot be its own parent", at: name) }
    source.widenPipe()
    var signals = try HeldSignals()
    defer { signals.release() }
    let input = Descriptor(borrowing: source)
    var reader = CommandReader(at: source.name)
    func next() throws -> Frame {
        try reader.next { buffer in
            try signals.wait(for: input)
            return try input.read(into: buffer)
        }
    }

    let identity = try Identity(of: next())
    guard identity.uuid == uuid.lowercased() else {
        throw Failure(
            .badData, "the btrfs stream contains another subvolume: \(identity.uuid), named \(identity.name)",
            at: source.name)
    }
    let here = Descriptor(borrowing: folder)
    guard let parent else {
        guard identity.parent == nil else {
            throw Failure(
                .badData, "the btrfs stream is incremental", at: source.name,
                hint: "give the subvolume that it builds on with --parent")
        }
        try clear(name, in: here, of: identity)
        try Subvolume.make(name, in: here)
        return try fill(name, in: here, identity, upon: nil, [:], next, note)
    }
    let base = try Subvolume(parent, in: folder)
    let uuids = try identity.requireParent(base, at: source.name)
    try clear(name, in: here, of: identity)
    try base.snapshot(as: name, in: here, readOnly: false)
    // Where the parent has no record that can be read, it has no such files either.
    let flags = (try? base.recordedFlags()) ?? [:]
    return try fill(
        name, in: here, identity, upon: .init(root: base.directory.number, uuids: uuids), flags, next, note)
}

/// Who the stream is of.
struct Identity {
    let uuid: String
    let bytes: [UInt8]
    let transaction: UInt64
    /// What the stream calls it, fit for a terminal.
    let name: String
    let parent: (uuid: String, transaction: UInt64)?

    init(of frame: Frame) throws {
        bytes = Array(try frame.uuid(.uuid))
        uuid = bytes.uuid
        transaction = try frame.number(.transaction)
        name = printable(try frame.bytes(.path).prefix(Int(NAME_MAX)))
        parent =
            frame.command == .snapshot
            ? (try frame.uuid(.cloneUUID).uuid, try frame.number(.cloneTransaction)) : nil
    }

    /// Sees to it that this is the subvolume that the stream builds upon.
    ///
    /// The transaction says whether it has changed since, but only where it is the very one that was there when the stream
    /// was made: a received one may stand for a later copy of what was sent first, with transactions of its own.
    ///
    /// - Returns: the UUIDs that mean it.
    func requireParent(_ base: borrowing Subvolume, at place: String) throws -> [String] {
        guard let parent else {
            throw Failure(.badData, "the btrfs stream is full and has no parent", at: place)
        }
        let there = try Snapshot(of: base)
        guard there.isReadOnly else {
            throw Failure(
                .badData, "the parent is writable", at: base.path,
                hint: "it may have changed since; receive the parent again")
        }
        let isIt =
            there.receivedUUID == parent.uuid
            || there.uuid == parent.uuid && there.contentTransaction == parent.transaction
        guard isIt else {
            throw Failure(
                .badData,
                there.uuid == parent.uuid
                    ? "the parent has changed since the btrfs stream was made"
                    : "the btrfs stream builds on another subvolume: \(parent.uuid)", at: base.path)
        }
        return [there.uuid, there.receivedUUID].compactMap(\.self)
    }
}

/// Deletes what a call that was killed left.
private func clear(_ name: String, in folder: borrowing Descriptor, of identity: Identity) throws {
    var status = stat()
    guard fstatat(folder.number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
        guard errno == ENOENT else { throw Failure.system("cannot stat", at: folder.path(of: name)) }
        return
    }
    let taken = Failure(
        .busy, "the name is taken, and not by an interrupted receive", at: folder.path(of: name),
        hint: "choose another name, or see what it is")
    guard status.st_mode & S_IFMT == S_IFDIR, status.st_ino == 256 else { throw taken }
    let there = try Snapshot(of: Subvolume(name, in: folder))
    guard !there.isReadOnly, [nil, identity.uuid].contains(there.receivedUUID) else { throw taken }
    try Subvolume.delete(name, in: folder)
}

/// Applies the rest of the stream to the subvolume `name`, and deletes it where that fails.
///
/// - Parameter flags: those that the parent has a record of.
private func fill(
    _ name: String, in folder: borrowing Descriptor, _ identity: Identity, upon parent: Applier.Parent?,
    _ flags: [UInt64: InodeFlags], _ next: () throws -> Frame,
    _ note: @escaping (String) -> Void
) throws -> Snapshot {
    do {
        let made = try Subvolume(name, in: folder)
        var applier = try Applier(to: made.directory, of: identity, upon: parent, note: note)
        while case let frame = try next(), frame.command != .end { try applier.apply(frame) }
        try applier.finish()
        try made.restoreNoCopyOnWrite(before: flags)
        // An error that came when the data was written, and so much later than the call, is heard here.
        try made.directory.syncFileSystem()
        try made.seal(received: identity.bytes, transaction: identity.transaction)
        return try Snapshot(of: made)
    } catch let failure as Failure {
        do { try Subvolume.delete(name, in: folder) } catch {
            throw Failure(
                failure.status, failure.what, at: failure.place,
                hint:
                    "\(folder.path(of: name)) is incomplete and could not be deleted; the next receive of that name deletes it"
            )
        }
        throw failure
    }
}
