import Glibc
import Plumbing

/// Inode flags.
extension TreeComparison {
    func flags(
        _ from: borrowing Descriptor, _ original: stat, _ to: borrowing Descriptor, _ copy: stat
    ) throws {
        func flags(_ file: borrowing Descriptor, _ status: stat, _ recorded: [UInt64: InodeFlags]?) throws
            -> InodeFlags
        {
            try recorded.map { $0[UInt64(status.st_ino)] ?? [] } ?? InodeFlags(of: file)
        }
        let was = try flags(from, original, recorded.original)
        let now = try flags(to, copy, recorded.copy)
        let (lost, added) = (was.subtracting(now), now.subtracting(was))
        for letter in lost.letters { try tell("the inode flag \(Unicode.Scalar(letter)) is missing") }
        for letter in added.letters {
            try tell("the inode flag \(Unicode.Scalar(letter)) is not in the original")
        }
    }
}

extension Subvolume {
    /// The flags that a received subvolume has a record of, by the number of the inode; nil for any other.
    func flagsIfReceived() throws -> [UInt64: InodeFlags]? {
        try Snapshot(of: self).receivedUUID == nil ? nil : recordedFlags()
    }
}
