import CLinux
import Glibc
import Plumbing

/// A btrfs in a file that never had a name, so that nobody can put another in its place: it is gone when it is unmounted.
public enum NamelessFileSystem {
    /// Makes one, and mounts it.
    ///
    /// - Parameters:
    ///   - point: a folder of our own, made with mode 0700 where it is missing.
    ///   - folder: whose file system gets the file, which others may write to.
    ///   - need: the most bytes that will be written. It takes what is written and no more.
    /// - Throws: `unavailable` where there are no loop devices, or no files without a name.
    public static func mount(at point: String, in folder: String, need: UInt64) throws {
        let file = try make(in: .folder(at: folder))
        // Streams of small files grow on the way, but not by that.
        let size = need.multipliedReportingOverflow(by: 4).partialValue &+ 1 << 30
        guard ftruncate(file.number, off_t(clamping: size)) == 0 else {
            throw Failure.system("cannot make room for a file system", at: folder)
        }
        // Where nobody has it open any more, it is no loop device any more.
        let device = try attach(file)
        let ending = try Child.ending(of: ["mkfs.btrfs", "-q", "-K", "-m", "single", device.name])
        guard ending.isSuccess else { throw Failure(.io, "mkfs.btrfs \(ending)", at: folder) }
        guard mkdir(point, 0o700) == 0 || errno == EEXIST else {
            throw Failure.system("cannot create a folder", at: point)
        }
        guard Glibc.mount(device.name, point, "btrfs", linux_MOUNT_UNTRUSTED, nil) == 0 else {
            throw Failure.system("cannot mount a new btrfs", at: folder)
        }
    }

    private static func make(in directory: borrowing Descriptor) throws -> Descriptor {
        let number = retrying { openat(directory.number, ".", linux_O_TMPFILE | O_RDWR | O_CLOEXEC, 0o600) }
        guard number >= 0 else {
            let failure = Failure.system("", at: nil)
            throw Failure(
                failure.status == .denied ? .denied : .unavailable,
                "cannot create a file without a name\(failure.what)", at: directory.name,
                hint: "choose a folder on btrfs, ext4, XFS or tmpfs")
        }
        return Descriptor(owning: number, name: directory.name)
    }

    private static func attach(_ file: borrowing Descriptor) throws -> Descriptor {
        do {
            let control = try Descriptor(opening: "/dev/loop-control", O_RDWR)
            for _ in 0..<100 {
                let number = linux_loop_free(control.number)
                guard number >= 0 else { throw Failure.system("no loop device is free", at: control.name) }
                let device = try Descriptor(opening: "/dev/loop\(number)", O_RDWR)
                if linux_loop_attach(device.number, file.number) == 0 { return device }
                // Somebody else was faster.
                guard errno == EBUSY else {
                    throw Failure.system("cannot attach a file to a loop device", at: device.name)
                }
            }
            throw Failure(.busy, "others take every loop device", at: control.name, hint: "run it again")
        } catch let failure as Failure where failure.status != .busy {
            throw Failure(
                .unavailable, failure.what, at: failure.place,
                hint: "loop devices may be missing here; choose a folder on a btrfs of its own")
        }
    }
}
