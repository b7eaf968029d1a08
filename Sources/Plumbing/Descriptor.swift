import CLinux
public import Glibc

/// A file descriptor and the name that messages give it.
///
/// Whoever holds the value owns the descriptor; it closes when the value ends. The three standard ones are never closed.
/// Every call is repeated after `EINTR` and throws `Failure.system` with `name` as the place.
public struct Descriptor: ~Copyable, Sendable {
    public let number: Int32
    public let name: String
    private var owned: Bool

    private init(number: Int32, name: String, owned: Bool) {
        self.number = number
        self.name = name
        self.owned = owned
    }

    /// Takes over an open descriptor.
    public init(owning number: Int32, name: String) {
        self.init(number: number, name: name, owned: true)
    }

    /// Opens a file, close-on-exec.
    public init(opening path: String, _ flags: Int32, mode: mode_t = 0) throws {
        try self.init(opening: path, from: AT_FDCWD, shown: path, flags, mode)
    }

    /// Opens a file by its name in an open directory, close-on-exec; the path to that directory may change meanwhile.
    public init(opening name: String, in directory: borrowing Descriptor, _ flags: Int32, mode: mode_t = 0)
        throws
    {
        try self.init(opening: name, from: directory.number, shown: directory.path(of: name), flags, mode)
    }

    init(opening path: String, from start: Int32, shown: String, _ flags: Int32, _ mode: mode_t = 0) throws {
        let number = retrying { openat(start, path, flags | O_CLOEXEC, mode) }
        guard number >= 0 else { throw Failure.system("cannot open", at: shown) }
        self.init(owning: number, name: shown)
    }

    /// A second value for a descriptor that stays its first owner's, who must outlive it.
    public init(borrowing other: borrowing Descriptor) {
        self.init(borrowing: other.number, name: other.name)
    }

    /// The same for a bare number.
    public init(borrowing number: Int32, name: String) {
        self.init(number: number, name: name, owned: false)
    }

    public static var standardInput: Descriptor { .init(number: 0, name: "standard input", owned: false) }
    public static var standardOutput: Descriptor { .init(number: 1, name: "standard output", owned: false) }
    public static var standardError: Descriptor { .init(number: 2, name: "standard error", owned: false) }

    deinit {
        if owned { _ = Glibc.close(number) }
    }

    /// How messages name the entry `name` of this directory.
    public func path(of name: String) -> String {
        self.name == "." ? name : self.name.hasSuffix("/") ? self.name + name : "\(self.name)/\(name)"
    }
}

// MARK: - Bytes

extension Descriptor {
    /// Reads once. Returns the count of bytes, 0 at the end of the file.
    public func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        let count = retrying { Glibc.read(number, buffer.baseAddress, buffer.count) }
        guard count >= 0 else { throw Failure.system("cannot read", at: name) }
        return count
    }

    /// Reads until the buffer is full or the file ends; a count below `buffer.count` means the end.
    public func readFully(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        var filled = 0
        while filled < buffer.count {
            let count = try read(into: .init(rebasing: buffer[filled...]))
            if count == 0 { break }
            filled += count
        }
        return filled
    }

    /// Writes all of the bytes.
    public func write(_ bytes: UnsafeRawBufferPointer) throws {
        var rest = bytes
        while !rest.isEmpty {
            let count = retrying { Glibc.write(number, rest.baseAddress, rest.count) }
            guard count >= 0 else {
                throw errno == EPIPE
                    ? Failure(.io, "the reader closed the pipe before the end", at: name)
                    : Failure.system("cannot write", at: name)
            }
            rest = .init(rebasing: rest[count...])
        }
    }

    public func write(_ bytes: [UInt8]) throws {
        try bytes.withUnsafeBytes { try write($0) }
    }

    /// Reads to the end of the file.
    ///
    /// - Parameter limit: the most bytes to take into memory; one more is a `badData` failure.
    public func readAll(limit: Int) throws -> [UInt8] {
        var all: [UInt8] = []
        let step = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 16)
        defer { step.deallocate() }
        while true {
            let count = try read(into: step)
            if count == 0 { return all }
            guard all.count + count <= limit else {
                throw Failure(.badData, "larger than \(limit) bytes", at: name)
            }
            all.append(contentsOf: step[..<count])
        }
    }

    /// Calls with each line of the file, its newline included, and the line's number, from 1.
    ///
    /// - Parameter limit: the most bytes of a line; a longer one is the last that is taken, unfinished.
    /// - Returns: the count of lines.
    @discardableResult
    public func lines(upTo limit: Int, _ take: ([UInt8], Int) throws -> Void) throws -> Int {
        let step = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 16)
        defer { step.deallocate() }
        var line: [UInt8] = []
        var number = 0
        while true {
            let count = try read(into: step)
            var rest = step[..<count]
            while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
                line += rest[...end]
                number += 1
                try take(line, number)
                line.removeAll(keepingCapacity: true)
                rest = rest[(end + 1)...]
            }
            line += rest
            if count == 0 || line.count >= limit { break }
        }
        if !line.isEmpty {
            number += 1
            try take(line, number)
        }
        return number
    }

    /// Reads to the end of the file, and forgets it.
    public func drain() throws {
        let step = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 16)
        defer { step.deallocate() }
        while try read(into: step) > 0 {}
    }

    /// Asks for a pipe buffer of 1 MiB: the default of 64 KiB makes two stages take turns. No effect on anything else.
    public func widenPipe() {
        _ = fcntl(number, linux_F_SETPIPE_SZ, 1 << 20)
    }
}

// MARK: - Durability

extension Descriptor {
    /// fsync(2). Its failure is final: the kernel may have dropped the pages, so a second call would lie.
    public func sync() throws {
        guard retrying({ fsync(number) }) == 0 else {
            throw Failure.system("cannot sync", at: name)
        }
    }

    /// Closes now, so that an error the file system kept back is heard (NFS and FUSE report late).
    public consuming func close() throws {
        guard owned else { return }
        owned = false
        guard Glibc.close(number) == 0 || errno == EINTR else {
            throw Failure.system("cannot close", at: name)
        }
    }
}

/// Repeats a system call for as long as a signal interrupts it.
public func retrying<Result: SignedInteger>(_ call: () -> Result) -> Result {
    while true {
        let result = call()
        if result != -1 || errno != EINTR { return result }
    }
}
