import Glibc
import Plumbing

/// What is inside an encrypted partition. It is open until this value has ended and nothing of it is mounted any more.
public final class Opened {
    let device: BlockDevice
    private let held: Descriptor

    /// - Parameters:
    ///   - partition: encrypted.
    ///   - passphrase: its bytes, as they are typed.
    /// - Throws: `denied` where the passphrase is another one.
    init(_ encryption: Encryption, of partition: BlockDevice, with passphrase: [UInt8]) throws {
        let command = encryption.opening(partition.path)
        let ending = try Child.ending(of: command, input: passphrase)
        guard ending != .status(2) else {
            throw Failure(
                .denied, "the passphrase does not open it", at: partition.path,
                hint: "take the one that the rebuild was begun with")
        }
        try Program.require(ending, of: command)
        held = try Descriptor(opening: "/dev/mapper/\(encryption.opened)", O_RDONLY | O_NONBLOCK)
        device = try BlockDevice(number: held.status().st_rdev, shown: held.name)
        try Program.run(["cryptsetup", "close", "--deferred", encryption.opened])
    }

    /// Closes what a run has left open that was killed between opening and that.
    public static func closeLeft(of machine: Machine) {
        for encryption in machine.disk.partitions.compactMap(\.encryption)
        where exists("/dev/mapper/\(encryption.opened)") {
            try? Program.runQuietly(["cryptsetup", "close", encryption.opened])
        }
    }
}

extension Machine {
    /// Whether it has encrypted partitions.
    public var isEncrypted: Bool { disk.partitions.contains { $0.encryption != nil } }

    /// - Throws: `unavailable` where it has encrypted partitions, and this system could not open them.
    public func requireMapper() throws {
        guard isEncrypted else { return }
        try Program.runQuietly(["cryptsetup", "--version"])
        try? Program.runQuietly(["modprobe", "dm-crypt"])
        guard (try? Descriptor(opening: "/dev/mapper/control", O_RDWR)) != nil else {
            throw Failure(
                .unavailable, "the machine has encrypted partitions, and this kernel has no device mapper",
                at: "/dev/mapper/control", hint: "start another rescue system, one whose kernel has dm-crypt")
        }
    }
}
