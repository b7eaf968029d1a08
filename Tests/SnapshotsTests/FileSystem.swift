import Glibc
import Plumbing
import Snapshots
import Testing

/// A new btrfs on a loop device. Nothing has to clean up after it: its mount is taken out of the tree at once, so it is
/// there for as long as the descriptor is open, and the image, which has no name any more, goes with it.
final class FileSystem {
    let root: Descriptor

    init() throws {
        var template = Array("/tmp/escapepod-tests-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw Failure.system("cannot make", at: "/tmp") }
        let place = String(cString: made)
        defer { _ = try? run("rm", "-rf", place) }
        mkdir("\(place)/mount", 0o700)
        try run("truncate", "-s", "128M", "\(place)/image")
        try run("mkfs.btrfs", "-q", "\(place)/image")
        try run("mount", "-o", "loop", "\(place)/image", "\(place)/mount")
        defer { _ = try? run("umount", "-l", "\(place)/mount") }
        root = try Descriptor.folder(at: "\(place)/mount")
        try Subvolume.make("volume", in: root)
    }

    func subvolume(_ name: String) throws -> Subvolume { try Subvolume(name, in: root) }

    /// What that file of the volume holds from here on.
    func write(_ bytes: [UInt8], to name: String, at offset: off_t = 0) throws {
        let volume = try subvolume("volume")
        let file = try Descriptor(opening: name, in: volume.directory, O_WRONLY | O_CREAT, mode: 0o600)
        lseek(file.number, offset, SEEK_SET)
        try file.write(bytes)
    }

    func make(folder name: String) throws {
        let volume = try subvolume("volume")
        try #require(mkdirat(volume.directory.number, name, 0o700) == 0)
    }
}

private func run(_ command: String...) throws {
    var child = try Child(command)
    _ = try child.output.readAll(limit: 1 << 16)
    let ending = try child.wait()
    try #require(ending.isSuccess, "\(command): \(ending)")
}

extension Slots {
    /// A snapshot without a warning.
    func create() throws -> Snapshot { try create { Issue.record("\($0)") } }
}
