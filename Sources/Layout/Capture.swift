import CBtrfsUtil
import CLinux
import Glibc
import JSON
import Plumbing

/// Looks at a machine, reads only, and describes it.
///
/// The machine is the one that runs, or one whose file systems are all mounted below a folder, as in a rescue system.
public struct Capture {
    /// The folder that is the machine's root, without a slash at its end: empty for the one that runs.
    let prefix: String
    /// Paths on the machine, and devices, that need not come back.
    private let leftOut: [String]
    /// What is mounted, by the path on the machine.
    let mounts: [String: Mount]
    let disk: BlockDevice
    /// What cannot come back and was not left out.
    var problems: [Failure] = []
    /// What does not come back, for people.
    var notes: [String] = []
    /// All subvolumes that can be written to.
    private var others: [(filesystem: String, path: String)] = []

    /// - Parameter root: the machine's root folder, absolute.
    public init(root: String, leavingOut leftOut: [String]) throws {
        prefix = root == "/" ? "" : root
        self.leftOut = leftOut
        var mounts: [String: Mount] = [:]
        for mount in try Mount.all() {
            guard let point = Capture.below(root, mount.point) else { continue }
            // A later one hides an earlier one.
            mounts[point] = mount
        }
        self.mounts = mounts
        guard let mount = mounts["/"], mount.type == "btrfs" else {
            throw Failure(
                .badData, "the root is not on btrfs", at: root,
                hint: "a system comes back from btrfs alone; give the folder that its root is mounted at")
        }
        let devices = try Capture.devices(at: root)
        guard devices.count == 1 else {
            throw Failure(
                .badData, "a btrfs over several devices: \(devices.map(\.path).joined(separator: ", "))",
                at: root,
                hint: "such a machine cannot come back yet; its volumes can be backed up one by one")
        }
        guard devices[0].partition != nil else {
            throw Failure(
                .badData, "the root is not on a partition", at: devices[0].path,
                hint: "a machine on LVM, LUKS, md, or a disk without a table cannot come back yet")
        }
        disk = devices[0].disk
    }

    /// The path on the machine; nil for what is not below its root.
    private static func below(_ root: String, _ path: String) -> String? {
        if root == "/" { return path }
        if path == root { return "/" }
        return path.hasPrefix(root + "/") ? String(path.dropFirst(root.utf8.count)) : nil
    }

    static func devices(at path: String) throws -> [BlockDevice] {
        let folder = try Descriptor.folder(at: path)
        var uuid = [UInt8](repeating: 0, count: 16)
        guard linux_btrfs_uuid(folder.number, &uuid) == 1 else {
            throw Failure.system("cannot identify the btrfs", at: path)
        }
        return try Descriptor.folder(at: "/sys/fs/btrfs/\(uuid.uuid)/devices").names().sorted().compactMap {
            BlockDevice(named: $0)
        }
    }

    /// Where our process sees a path of the machine.
    func here(_ path: String) -> String { path == "/" ? (prefix.isEmpty ? "/" : prefix) : prefix + path }

    func isLeftOut(_ path: String) -> Bool {
        leftOut.contains { path == $0 || path.hasPrefix($0 == "/" ? "/" : $0 + "/") }
    }

    // MARK: - Subvolumes

    /// A subvolume as the machine sees it.
    public struct Member: Equatable, Sendable {
        public let label: String
        /// On the machine.
        public let path: String

        public init(label: String, path: String) {
            self.label = label
            self.path = path
        }
    }

    /// The subvolumes that belong to the machine, each with a label that says where it is.
    ///
    /// - Throws: `badData` where something would not come back; all that has been said by `say` before.
    public mutating func members(say: (String) -> Void) throws -> [Member] {
        let found = try subvolumes()
        _ = try look()
        try conclude(say: say)
        for note in notes { say(printable("left out: \(note)")) }
        var labels: Set<String> = []
        return found.map { subvolume in
            let name = Capture.label(subvolume.seen)
            var label = name
            var count = 1
            while !labels.insert(label).inserted {
                count += 1
                label = "\(name)-\(count)"
            }
            return Member(label: label, path: subvolume.seen)
        }
    }

    private static func label(_ path: String) -> String {
        let words = path.lowercased().utf8.map {
            switch Unicode.Scalar($0) {
            case "a"..."z", "0"..."9", "_": String(Unicode.Scalar($0))
            default: "-"
            }
        }.joined().split(separator: "-")
        return words.isEmpty
            ? path == "/" ? "root" : "volume" : String(words.joined(separator: "-").prefix(48))
    }

    struct Seen {
        let filesystem: String
        let path: String
        let id: Int64
        /// Where the machine sees it, and whether it is mounted there.
        let seen: String
        let isMounted: Bool
        let isDefault: Bool
    }

    /// The folder of the capsule, which is a subvolume of its own and comes back by itself.
    public static let capsule = ".escapepod-system"

    mutating func subvolumes() throws -> [Seen] {
        var found: [Seen] = []
        var filesystems: Set<String> = []
        for (point, mount) in mounts.sorted(by: { ($0.key.utf8.count, $0.key) < ($1.key.utf8.count, $1.key) })
        where mount.type == "btrfs" && !isLeftOut(point) {
            guard let devices = try? Capture.devices(at: here(point)),
                devices.contains(where: { $0.disk == disk })
            else { continue }
            var uuid = [UInt8](repeating: 0, count: 16)
            let folder = try Descriptor.folder(at: here(point))
            guard linux_btrfs_uuid(folder.number, &uuid) == 1 else { continue }
            let number = folder.number
            // A folder of a subvolume may be mounted, too.
            guard btrfs_util_is_subvolume_fd(number) == BTRFS_UTIL_OK else { continue }
            var top: [UInt64: (path: String, info: btrfs_util_subvolume_info)] = [:]
            try eachSubvolume(of: folder) { top[$1.id] = ($0, $1) }
            if !filesystems.contains(uuid.uuid) {
                others += top.values.filter {
                    $0.info.flags & 1 == 0 && !"/\($0.path)/".contains("/.escapepod")
                }
                .map { (uuid.uuid, $0.path) }.sorted { $0.1 < $1.1 }
            }
            filesystems.insert(uuid.uuid)
            var own: UInt64 = 0
            guard btrfs_util_subvolume_id_fd(number, &own) == BTRFS_UTIL_OK else {
                throw Failure.system("cannot identify the subvolume", at: here(point))
            }
            var preferred: UInt64 = 0
            guard btrfs_util_get_default_subvolume_fd(number, &preferred) == BTRFS_UTIL_OK else {
                throw Failure.system("cannot read the default subvolume", at: here(point))
            }
            guard let this = top[own] else {
                problems.append(
                    Failure(
                        .badData, "the top level of a btrfs is mounted, and cannot come back as such",
                        at: point,
                        hint: "move its content into a subvolume, or leave it out with --leave-out \(point)"))
                continue
            }
            for (id, one) in top.sorted(by: { $0.value.path < $1.value.path })
            where one.path == this.path || one.path.hasPrefix(this.path + "/") {
                let inner = one.path.dropFirst(this.path.utf8.count)
                let seen = point == "/" ? (inner.isEmpty ? "/" : String(inner)) : point + inner
                guard !inner.contains("/.escapepod/"), inner != "/\(Capture.capsule)", !isLeftOut(seen) else {
                    continue
                }
                guard !found.contains(where: { $0.filesystem == uuid.uuid && $0.path == one.path }) else {
                    continue
                }
                // Another mount may lie over it.
                if !inner.isEmpty, mounts.keys.contains(where: { $0 == seen }) { continue }
                guard one.info.flags & 1 == 0 else {
                    if inner.isEmpty {
                        problems.append(
                            Failure(
                                .badData, "a read-only subvolume is mounted", at: point,
                                hint: "btrfs property set \(point) ro false, or --leave-out \(point)"))
                    } else {
                        notes.append("\(seen): a read-only subvolume, such as a snapshot")
                    }
                    continue
                }
                found.append(
                    Seen(
                        filesystem: uuid.uuid, path: one.path, id: Int64(clamping: id), seen: seen,
                        isMounted: inner.isEmpty, isDefault: id == preferred))
            }
        }
        noteUnmounted(found)
        return found
    }

    /// What no mount shows is easily forgotten.
    private mutating func noteUnmounted(_ found: [Seen]) {
        let unseen = others.filter { filesystem, path in
            !found.contains {
                $0.filesystem == filesystem
                    && ("\(path)/".hasPrefix($0.path + "/") || $0.path.hasPrefix(path + "/"))
            }
        }
        notes += unseen.prefix(Capture.mostNotes).map { "\($0.path): a subvolume that is not mounted" }
        if unseen.count > Capture.mostNotes {
            notes.append("and \(unseen.count - Capture.mostNotes) more subvolumes that are not mounted")
        }
    }

    private static let mostNotes = 10

    /// The subvolumes that members lie in and that are none themselves.
    func containers(of found: [Seen]) -> [Container] {
        others.filter { filesystem, path in
            found.contains { $0.filesystem == filesystem && $0.path.hasPrefix(path + "/") }
                && !found.contains { $0.filesystem == filesystem && $0.path == path }
        }.map { Container(filesystem: $0.filesystem, path: $0.path) }
    }

    private func eachSubvolume(
        of folder: borrowing Descriptor, _ take: (String, btrfs_util_subvolume_info) throws -> Void
    ) throws {
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
            case BTRFS_UTIL_ERROR_STOP_ITERATION: return
            default: throw Failure.system("cannot list the subvolumes", at: folder.name)
            }
            guard let name else { return }
            defer { free(name) }
            guard let path = String(validatingCString: name) else {
                throw Failure(
                    .badData, "the name of a subvolume is not UTF-8", at: folder.name,
                    hint: "btrfs subvolume list shows it; rename it")
            }
            try take(path, info)
        }
    }

    func conclude(say: (String) -> Void) throws {
        guard let last = problems.last else { return }
        for problem in problems.dropLast() { say(problem.message(from: "ep-layout")) }
        throw last
    }
}
