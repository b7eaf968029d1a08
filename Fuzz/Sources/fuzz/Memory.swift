import CLinux
import Fuzzing
import Glibc
import Plumbing

/// A file without a name, in memory, used again and again.
final class Memory: Sendable {
    private let number: Int32

    init() {
        var name = Array("/dev/shm/escapepod-fuzz-XXXXXX".utf8CString)
        number = mkstemp(&name)
        guard number >= 0, unlink(name) == 0 else { fatalError("no file in /dev/shm") }
    }

    /// The file with this content, to be read or written from its start.
    func holding(_ bytes: [UInt8] = []) -> Descriptor {
        guard ftruncate(number, 0) == 0, pwrite(number, bytes, bytes.count, 0) == bytes.count,
            lseek(number, 0, SEEK_SET) == 0
        else { fatalError("a file in /dev/shm fails") }
        return Descriptor(owning: dup(number), name: "input")
    }

    var content: [UInt8] {
        var status = stat()
        fstat(number, &status)
        return [UInt8](unsafeUninitializedCapacity: status.st_size) {
            $1 = pread(number, $0.baseAddress, $0.count, 0)
        }
    }
}

/// A pipe that gives the bytes in the pieces in which they were put, the first of which together are `front` bytes long;
/// nil where they do not fit into it. What reads less than a piece loses the rest of it.
func packets(_ bytes: [UInt8], front: Int = 0) throws -> Descriptor? {
    var ends: [Int32] = [-1, -1]
    guard linux_pipe(&ends) == 0 else { throw Failure.system("pipe", at: nil) }
    let output = Descriptor(owning: ends[0], name: "input")
    let input = Descriptor(owning: ends[1], name: "pipe")
    input.widenPipe()
    // In packets, pipe(2), and rather full than stuck.
    guard fcntl(input.number, F_SETFL, linux_O_DIRECT | O_NONBLOCK) == 0 else {
        throw Failure.system("pipe", at: nil)
    }
    do {
        try Array(bytes.prefix(front)).inPieces { try input.write($0) }
        try Array(bytes.dropFirst(front)).inPieces { try input.write($0) }
    } catch { return nil }
    return output
}
