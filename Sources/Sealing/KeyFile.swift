import Glibc
import Plumbing

/// The file that holds a key: text, readable by its owner alone.
public enum KeyFile {
    private static let maximumLength = 64 << 10

    /// Writes a key to a new file, mode 0600; a file that is there already is never touched.
    public static func create(_ key: Key, at path: String) throws {
        let text = """
            # escapepod key \(try key.id().hex)
            # Whoever has this line can read the backups; without it nobody can. Keep a copy off this machine.
            \(key.text)

            """
        do {
            try AtomicFile.write(Array(text.utf8), to: path, mode: 0o600, replacing: false)
        } catch let failure as Failure where access(path, F_OK) == 0 {
            throw Failure(
                failure.status, "will not overwrite a key file", at: path,
                hint: "backups made with that key are lost without it; choose another name")
        }
    }

    /// Reads a key file.
    ///
    /// - Parameter warn: called with what a person should know: the mode lets others read the key.
    public static func read(_ path: String, warn: (String) -> Void) throws -> Key {
        let file = try open(path, as: "key file", warn: warn)
        let bytes = try file.readAll(limit: maximumLength)
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw Failure(.badData, "not a key file", at: path, hint: "it is not text")
        }
        return try Key(parsing: text, at: path)
    }

    /// Opens a file that only its owner should be able to read.
    static func open(_ path: String, as what: String, warn: (String) -> Void) throws -> Descriptor {
        let file = try Descriptor(opening: path, O_RDONLY)
        var status = stat()
        guard fstat(file.number, &status) == 0 else { throw Failure.system("cannot stat", at: path) }
        if status.st_mode & S_IFMT == S_IFREG, status.st_mode & 0o077 != 0 {
            let mode = String(status.st_mode & 0o777, radix: 8)
            warn("others can read the \(what) \(path), mode 0\(mode); chmod 600 fixes that")
        }
        return file
    }
}
