import Glibc
import Plumbing
import SendStream

/// The commands that give a file another name.
extension Applier {
    mutating func rename(_ frame: Frame) throws {
        let old = try path(frame)
        let new = try Path(.pathTo, of: frame, in: room + Path.room)
        let from = try tree.folder(of: old, frame)
        let to = try tree.folder(of: new, frame)
        guard renameat(from, old.name, to, new.name) == 0 else {
            throw tree.failure("cannot rename to \(new.shown):", old, frame)
        }
        try tree.moved(old, to: new)
        capabilities = nil
    }

    mutating func link(_ frame: Frame) throws {
        let new = try path(frame)
        let old = try Path(.target, of: frame, in: room + Path.room)
        let from = try tree.folder(of: old, frame)
        let to = try tree.folder(of: new, frame)
        // Without AT_SYMLINK_FOLLOW: a symbolic link gets another name itself.
        guard linkat(from, old.name, to, new.name, 0) == 0 else {
            // linkat(2): a folder.
            guard errno != EPERM else { throw frame.refuse("\(old.shown) cannot have a hard link") }
            throw tree.failure("cannot create a hard link to \(old.shown):", new, frame)
        }
    }
}
