import DurableFiles
import Envelope
import Fuzzing
import Glibc
import OpenSSL
import Plumbing
import StoreFormat

@testable import Storage

/// The names in a metadata folder, one a line; an address is long, so `A` to `P` stand for sixteen.
func history(_ input: [UInt8]) throws {
    let names = input.parts(at: "\n").map { name in
        String(
            decoding: name.flatMap { byte in
                (UInt8(ascii: "A")...UInt8(ascii: "P")).contains(byte)
                    ? Array(repeating: UInt8(ascii: "0") + byte % 10, count: 63) + [
                        UInt8(ascii: "a") + byte % 6
                    ]
                    : [byte]
            }, as: UTF8.self)
    }
    let history = try History(of: names, at: "input")
    for entry in history.entries { hold(names.contains(entry.name), "a name that is not there") }
    guard let all = try accepted({ try history.all() }) else { return }
    hold(Set(all.map(\.address)).count == all.count, "a blob that is there twice")
    hold(zip(all, all.dropFirst()).allSatisfy { $0.number < $1.number }, "not in order")
    hold(try history.last() == all.last, "the last is another")
}

/// Parts of a blob with lengths that a drive claims, and readings of it.
func parts(_ input: [UInt8]) throws {
    var program = Program(input)
    let blob = try Address(String(repeating: "a", count: 64))
    let folder = try Folder.store(at: folder)
    try StoredBlob.removeParts(of: blob, in: folder)
    folder.remove(blob.hex)
    let count = program.number(below: 6)
    var lengths: [UInt64] = []
    for index in 0..<count {
        let length = off_t(
            [UInt64.max >> 1, 200, 1 << 40, 0, program.number(bytes: 8) >> 1][program.number(below: 5)])
        let name = count == 1 ? blob.hex : StoredBlob.name(ofPart: index, of: blob)
        let file = try folder.open(name, O_RDWR | O_CREAT | O_EXCL, mode: 0o600)
        guard ftruncate(file.number, length) == 0 else { throw Failure.system("ftruncate", at: name) }
        if index == 0, program.byte() & 1 == 0, length >= 64 {
            try file.write(Envelope.Header(kind: .blob, keyID: [UInt8](repeating: 1, count: 16)).bytes)
        }
        lengths.append(UInt64(length))
        guard index == count - 1, program.byte() & 1 == 0, length >= 16 else { continue }
        let trailer = Envelope.trailer(length: lengths.reduce(0, &+))
        guard pwrite(file.number, trailer, 16, length - 16) == 16 else { fatalError("pwrite") }
    }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 16)
    defer { buffer.deallocate() }
    guard let stored = try accepted({ try StoredBlob(blob, in: folder) }) else { return }
    guard let stored else { return hold(count == 0, "a blob that is not seen") }
    hold(lengths.reduce(into: true) { $0 = $0 && $1 <= stored.length }, "shorter than a part")
    _ = try isAccepted { try stored.checkWhole() }
    while !program.isAtEnd {
        let offset = [stored.length &- 1, stored.length, 0, 200, program.number(bytes: 8)][
            program.number(below: 5)]
        do {
            let count = try stored.read(into: buffer, at: offset)
            hold((count > 0) == (offset < stored.length), "\(count) bytes at \(offset)")
        } catch let failure as Failure where failure.status == .io {
        }
    }
}

private let folder: String = {
    var name = Array("/dev/shm/escapepod-fuzz-XXXXXX".utf8CString)
    guard mkdtemp(&name) != nil else { fatalError("no folder in /dev/shm") }
    let path = String(decoding: name.dropLast().map(UInt8.init), as: UTF8.self)
    leftover = strdup(path)
    atexit {
        guard let leftover else { return }
        for entry in (try? Folder.store(at: String(cString: leftover)).names()) ?? [] {
            unlink(String(cString: leftover) + "/" + entry)
        }
        rmdir(leftover)
    }
    return path
}()
nonisolated(unsafe) private var leftover: UnsafeMutablePointer<CChar>?

func mountinfo(_ input: [UInt8]) throws {
    guard let mount = Mount(parsing: String(decoding: input, as: UTF8.self)) else { return }
    func escaped(_ text: String) -> String {
        text.utf8.map { byte in
            (0x21...0x7e).contains(byte) && byte != UInt8(ascii: "\\")
                ? String(Unicode.Scalar(byte)) : "\\" + byte.padded(to: 3, radix: 8)
        }.joined()
    }
    let device = (
        mount.device >> 8 & 0xfff | mount.device >> 32 & ~0xfff,
        mount.device & 0xff | mount.device >> 12 & 0xffff_ff00
    )
    let line = [
        "\(mount.id)", "0", "\(device.0):\(device.1)", escaped(mount.root), escaped(mount.point),
        mount.isReadOnly ? "ro" : "rw", "-", escaped(mount.type), "x", "rw",
    ].joined(separator: " ")
    hold(Mount(parsing: line) == mount, "another mount: \(line)")
}

func url(_ input: [UInt8]) throws {
    let text = String(decoding: input, as: UTF8.self)
    do {
        let url = try StoreURL(text)
        hold(try StoreURL(url.description) == url, "another store: \(url)")
        _ = (url.driver as? DuneSeaDriver)?.authority.isLoopback
        _ = try url.folderName
    } catch let failure as Failure where failure.status == .usage {
    }
    _ = try? Domain(text)
    _ = try? Address(text)
}

// MARK: - Answers

/// What libcurl would hand over: lines of a head, and pieces of a body behind `=`.
func transfer(_ input: [UInt8]) throws {
    let body = Offsets()
    var received = 0
    let transfer = Transfer(
        .init(method: "PATCH", path: "/", body: body), stall: 1, limit: 100,
        receive: input.first == UInt8(ascii: "=") ? { received += $1.count } : nil)
    for line in input.parts(at: "\n") {
        if line.first == UInt8(ascii: "=") {
            let taken = line.withUnsafeBytes { transfer.put($0) }
            hold(taken == line.count || taken == 0, "took \(taken)")
        } else {
            _ = (line + [0x0d, 0x0a]).withUnsafeBytes { transfer.header($0) }
        }
        hold(transfer.answer.body.count <= 100, "more than the limit")
    }
    hold(!transfer.isHeadWhole || transfer.answer.status >= 200, "a head without a status")
}

private final class Offsets: Body {
    var length: Int? { nil }
    func read(into buffer: UnsafeMutableRawBufferPointer) -> Int? { 0 }
    func rewind() -> Bool { true }
    func acknowledge(_ offset: UInt64) throws -> Bool { offset & 1 == 1 }
}
