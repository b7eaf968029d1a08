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
    private(set) var notes: [String] = []
    private var unsaid = 0

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
        let ground = devices[0].ground
        guard ground.partition != nil else {
            throw Failure(
                .badData, "the root is not on a partition", at: devices[0].path,
                hint: "a machine on LVM, md, or a disk without a table cannot come back yet")
        }
        disk = ground.disk
    }

    /// The path on the machine; nil for what is not below its root.
    private static func below(_ root: String, _ path: String) -> String? {
        if root == "/" { return path }
        if path == root { return "/" }
        return path.hasPrefix(root + "/") ? String(path.dropFirst(root.utf8.count)) : nil
    }

    static func devices(at path: String) throws -> [BlockDevice] {
        let uuid = try uuid(of: Descriptor.folder(at: path))
        return try Descriptor.folder(at: "/sys/fs/btrfs/\(uuid)/devices").names().sorted().compactMap {
            BlockDevice(named: $0)
        }
    }

    static func uuid(of folder: borrowing Descriptor) throws -> String {
        var uuid = [UInt8](repeating: 0, count: 16)
        guard linux_btrfs_uuid(folder.number, &uuid) == 1 else {
            throw Failure.system("cannot identify the btrfs", at: folder.name)
        }
        return uuid.uuid
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
    /// - Parameter say: takes what else belongs to it, and what does not come back, for people.
    /// - Throws: `badData` where something would not come back; all that has been said by `say` before.
    public mutating func members(say: (String) -> Void) throws -> [Member] {
        let found = try subvolumes().members
        let partitions = try look(at: table())
        try conclude(say: say)
        say("the machine's disk is \(disk.path), \(readable(bytes: UInt64(disk.size))):")
        for partition in partitions {
            let places = found.filter { $0.filesystem == partition.content?.uuid }.map(\.seen)
            let device = try disk.partition(partition.number)?.path ?? disk.path
            say(printable("  \(partition.line(device, places))"))
        }
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

    /// The folder of the capsule, which is a subvolume of its own and comes back by itself.
    public static let capsule = ".escapepod-system"

    /// Anybody who may make subvolumes can make many.
    private static let mostNotes = 32

    mutating func note(_ text: String) {
        if notes.count < Capture.mostNotes { return notes.append(String(text.prefix(300))) }
        unsaid += 1
        notes[Capture.mostNotes - 1] = "and \(unsaid + 1) more"
    }

    func conclude(say: (String) -> Void) throws {
        guard let last = problems.last else { return }
        for problem in problems.dropLast() { say(problem.message(from: "ep-layout")) }
        throw last
    }
}
