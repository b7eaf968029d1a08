import CLinux
import Glibc
public import Plumbing

/// A file that is only there to be given up, so that what makes room on a full disk can be written down first.
public struct Reserve: Sendable {
    private let folder: Folder
    public static let name = ".reserve"
    /// In bytes.
    public static let length: UInt64 = 1 << 20

    /// - Parameter folder: where it lies.
    public init(in folder: Folder) { self.folder = folder }

    /// Runs the body, and where the disk has no room for it, once more without the reserve.
    public func givingUp<Result>(_ body: () throws -> Result) throws -> Result {
        do { return try body() } catch let failure as Failure where failure.isOfFullDisk {
            guard try folder.length(of: Reserve.name) != nil else { throw failure }
            try folder.delete(Reserve.name)
            try folder.sync()
            return try body()
        }
    }

    /// Makes it, where there is room for it; anew, where it was cut. Without it all is as it was.
    public func make() {
        guard let length = try? folder.length(of: Reserve.name) ?? 0, length < Reserve.length else { return }
        folder.remove(Reserve.name)
        guard let file = try? folder.open(Reserve.name, O_WRONLY | O_CREAT | O_EXCL, mode: 0o600) else {
            return
        }
        // No file system makes less of noise.
        var noise = [UInt8](repeating: 0, count: Int(Reserve.length))
        arc4random_buf(&noise, noise.count)
        do {
            try file.write(noise)
            try file.sync()
        } catch { folder.remove(Reserve.name) }
    }
}

extension Failure {
    /// Whether a disk or a quota of it has no room.
    public var isOfFullDisk: Bool { code == ENOSPC || code == EDQUOT }
}
