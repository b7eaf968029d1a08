import CBtrfsUtil
import Glibc
import Plumbing

extension Capture {
    /// A subvolume that belongs to the machine.
    struct Seen {
        let filesystem: String
        let path: String
        let id: Int64
        /// Where the machine sees it.
        let seen: String
        let isMounted: Bool
        let isDefault: Bool
    }

    /// All of them, and those that only hold one of them.
    struct Subvolumes {
        var members: [Seen] = []
        var containers: [Container] = []
        var swapFiles: [SwapFile] = []
    }

    /// A btrfs with all its subvolumes, by their ids.
    private struct Volume {
        let uuid: String
        var subvolumes: [UInt64: (path: String, isReadOnly: Bool)] = [:]
        var preferred: UInt64 = 0
        /// Paths of what came up: members, and what was left out.
        var known: Set<String> = []
        /// Paths of what the members lie in.
        var holders: Set<String> = []
        /// What is swapped to, by the ids of the subvolumes.
        var swapFiles: [UInt64: [SwapFile]] = [:]
    }

    mutating func subvolumes() throws -> Subvolumes {
        var found = Subvolumes()
        var volumes: [String: Volume] = [:]
        for (point, mount) in mounts.sorted(by: { ($0.key.utf8.count, $0.key) < ($1.key.utf8.count, $1.key) })
        where mount.type == "btrfs" {
            guard let devices = try? Capture.devices(at: here(point)),
                devices.contains(where: { $0.ground.disk == disk })
            else { continue }
            let folder = try Descriptor.folder(at: here(point))
            // A folder of a subvolume may be mounted, too.
            guard btrfs_util_is_subvolume_fd(folder.number) == BTRFS_UTIL_OK else { continue }
            var volume = try volume(of: folder, among: &volumes)
            let isLeftOut =
                isLeftOut(point)
                || devices.contains { self.isLeftOut($0.path) || self.isLeftOut($0.ground.path) }
            let members = try look(point, folder, isLeftOut: isLeftOut, &volume)
            found.members += members
            volumes[volume.uuid] = volume
        }
        for volume in volumes.values.sorted(by: { $0.uuid < $1.uuid }) {
            // In one order, so that the description of a machine that did not change does not, either.
            for (_, files) in volume.swapFiles.sorted(by: { $0.key < $1.key }) {
                found.swapFiles += files.filter { volume.holders.contains($0.subvolume) }
            }
            if exists("/sys/fs/btrfs/\(volume.uuid)/qgroups") {
                note(
                    "the quotas of the btrfs \(volume.uuid): btrfs quota enable, and the limits of btrfs qgroup show -re"
                )
            }
            for (path, isReadOnly) in volume.subvolumes.values.sorted(by: { $0.path < $1.path }) {
                if volume.holders.contains(path), !volume.known.contains(path) {
                    found.containers.append(Container(filesystem: volume.uuid, path: path))
                } else if !isReadOnly, !isOurs(path),
                    !ancestors(of: path).contains(where: volume.known.contains),
                    !volume.known.contains(path)
                {
                    // What no mount shows is easily forgotten.
                    note("\(path): a subvolume that is not mounted")
                }
            }
        }
        return found
    }

    private mutating func volume(of folder: borrowing Descriptor, among volumes: inout [String: Volume])
        throws
        -> Volume
    {
        let uuid = try Capture.uuid(of: folder)
        if let known = volumes[uuid] { return known }
        var volume = Volume(uuid: uuid)
        guard btrfs_util_get_default_subvolume_fd(folder.number, &volume.preferred) == BTRFS_UTIL_OK else {
            throw Failure.system("cannot read the default subvolume", at: folder.name)
        }
        var iterator: OpaquePointer?
        guard btrfs_util_create_subvolume_iterator_fd(folder.number, 5, 0, &iterator) == BTRFS_UTIL_OK else {
            throw Failure.system("cannot list the subvolumes", at: folder.name)
        }
        defer { btrfs_util_destroy_subvolume_iterator(iterator) }
        while true {
            var name: UnsafeMutablePointer<CChar>?
            var info = btrfs_util_subvolume_info()
            switch btrfs_util_subvolume_iterator_next_info(iterator, &name, &info) {
            case BTRFS_UTIL_OK: break
            case BTRFS_UTIL_ERROR_STOP_ITERATION:
                try findSwapFiles(of: &volume)
                return volume
            default: throw Failure.system("cannot list the subvolumes", at: folder.name)
            }
            guard let name else { return volume }
            defer { free(name) }
            guard let path = String(validatingCString: name) else {
                let bytes = UnsafeRawBufferPointer(start: name, count: strlen(name))
                note("\(printable(bytes)): a subvolume whose name is not UTF-8")
                continue
            }
            volume.subvolumes[info.id] = (path, info.flags & 1 != 0)
        }
    }

    /// Swapfiles in use on the machine, in the root folder of a subvolume.
    private func findSwapFiles(of volume: inout Volume) throws {
        let table = try Descriptor(opening: "/proc/swaps", O_RDONLY).readAll(limit: 1 << 20)
        for line in String(decoding: table, as: UTF8.self).split(separator: "\n").dropFirst() {
            let fields = line.split(separator: " ", omittingEmptySubsequences: true)
            guard fields.count > 1, fields[1].hasPrefix("file") else { continue }
            let path = String(decoding: octalsUnescaped(fields[0].utf8), as: UTF8.self)
            guard path.hasPrefix("\(prefix)/"), let entry = try? Entry(at: path),
                (try? Capture.uuid(of: entry.folder)) == volume.uuid
            else { continue }
            let file = try Descriptor(
                opening: entry.name, in: entry.folder, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
            var id: UInt64 = 0
            guard btrfs_util_subvolume_id_fd(entry.folder.number, &id) == BTRFS_UTIL_OK,
                let subvolume = volume.subvolumes[id],
                btrfs_util_is_subvolume_fd(entry.folder.number) == BTRFS_UTIL_OK,
                let uuid = try BlockDevice.probe(path, forTable: false)["UUID"]
            else { continue }
            volume.swapFiles[id, default: []].append(
                SwapFile(
                    filesystem: volume.uuid, subvolume: subvolume.path, name: entry.name,
                    size: try Int64(file.status().st_size), uuid: uuid))
        }
    }

    /// What one mount shows: a subvolume, and those below it.
    private mutating func look(
        _ point: String, _ folder: borrowing Descriptor, isLeftOut: Bool, _ volume: inout Volume
    ) throws -> [Seen] {
        var own: UInt64 = 0
        guard btrfs_util_subvolume_id_fd(folder.number, &own) == BTRFS_UTIL_OK else {
            throw Failure.system("cannot identify the subvolume", at: here(point))
        }
        guard let this = volume.subvolumes[own] else {
            if !isLeftOut {
                problems.append(
                    Failure(
                        .badData, "the top level of a btrfs is mounted, and cannot come back as such",
                        at: point,
                        hint: "move its content into a subvolume, or leave it out with --leave-out \(point)"))
            }
            return []
        }
        var found: [Seen] = []
        for (id, one) in volume.subvolumes.sorted(by: { $0.value.path < $1.value.path })
        where one.path == this.path || one.path.hasPrefix(this.path + "/") {
            let inner = one.path.dropFirst(this.path.utf8.count)
            let seen = point == "/" ? (inner.isEmpty ? "/" : String(inner)) : point + inner
            guard !isOurs(one.path), !volume.known.contains(one.path) else { continue }
            // Another mount may lie over it.
            if !inner.isEmpty, mounts[seen] != nil { continue }
            guard !isLeftOut, !self.isLeftOut(seen) else {
                volume.known.insert(one.path)
                continue
            }
            // No snapshot can be taken of it while the file is in use.
            if let files = volume.swapFiles[id] {
                let names = try Descriptor.folder(at: here(seen)).names()
                if Set(names).isSubset(of: files.map(\.name)) {
                    volume.holders.insert(one.path)
                    continue
                }
                problems.append(
                    Failure(
                        .badData, "a swapfile in use lies beside other files", at: seen,
                        hint: "move it into a subvolume of its own, or swapoff it"))
            }
            guard !one.isReadOnly else {
                if inner.isEmpty {
                    problems.append(
                        Failure(
                            .badData, "a read-only subvolume is mounted", at: point,
                            hint: "btrfs property set \(point) ro false, or --leave-out \(point)"))
                } else {
                    note("\(seen): a read-only subvolume, such as a snapshot")
                }
                continue
            }
            volume.known.insert(one.path)
            volume.holders.formUnion(ancestors(of: one.path))
            found.append(
                Seen(
                    filesystem: volume.uuid, path: one.path, id: Int64(clamping: id), seen: seen,
                    isMounted: inner.isEmpty, isDefault: id == volume.preferred))
        }
        return found
    }

    /// The paths of the folders that a path lies in.
    private func ancestors(of path: String) -> [String] {
        let parts = path.split(separator: "/")
        return parts.indices.dropFirst().map { parts[..<$0].joined(separator: "/") }
    }

    /// Slots, and the capsule.
    private func isOurs(_ path: String) -> Bool {
        "/\(path)/".contains("/.escapepod/") || "/\(path)/".contains("/\(Capture.capsule)/")
    }
}
