import Fuzzing
import Glibc
import Plumbing
import SendStream

@testable import Receiving

/// Commands over a few names, many of which lead elsewhere, applied to a folder: what lies beside it stays as it is.
func receiver(_ input: [UInt8]) throws {
    let ground = try Descriptor.folder(at: Ground.path)
    try Ground.clear(in: ground)
    for name in ["tree", "parent"] {
        guard mkdirat(ground.number, name, 0o700) == 0 else { throw Failure.system("mkdir", at: name) }
    }
    let parent = try Descriptor(opening: "parent", in: ground, O_RDONLY | O_DIRECTORY)
    try Descriptor(opening: "a", in: parent, O_WRONLY | O_CREAT, mode: 0o600).write([UInt8](1...100))

    var program = Program(input)
    let version = program.byte() & 1 == 0 ? UInt8(1) : 2
    let isIncremental = program.byte() & 1 == 1
    var bytes = Array("btrfs-stream\0".utf8) + [version, 0, 0, 0]
    bytes += command(
        .subvolume, [(.path, Array("x".utf8)), (.uuid, own), (.transaction, little(7, 8))], version)
    while !program.isAtEnd, bytes.count < 64 << 10 {
        guard let next = Command(rawValue: 3 + UInt16(program.byte()) % 23), next != .end else { continue }
        bytes += command(next, attributes(of: next, &program), version)
    }
    bytes += command(.end, [], version)

    var reader = CommandReader(at: "input")
    var rest = bytes[...]
    func next() throws -> Frame {
        try reader.next { buffer in
            let piece = rest.prefix(min(buffer.count, 1000))
            buffer.copyBytes(from: piece)
            rest = rest.dropFirst(piece.count)
            return piece.count
        }
    }
    let identity = try Identity(of: next())
    let root = try Descriptor(opening: "tree", in: ground, O_RDONLY | O_DIRECTORY)
    var applier = try Applier(
        to: root, of: identity,
        upon: isIncremental ? .init(root: parent.number, uuids: [others.uuid]) : nil
    ) { _ in }
    while let frame = try accepted(next), frame.command != .end {
        do { try applier.apply(frame) } catch let failure as Failure {
            hold(failure.status != .bug, "a bug: \(failure)")
        }
    }
    do { try applier.finish() } catch is Failure {}

    hold(try Set(ground.names(atMost: 10)) == ["tree", "parent", "beside"], "something else is there")
    let beside = try Descriptor(opening: "beside", in: ground, O_RDONLY | O_DIRECTORY)
    hold(try beside.names(atMost: 10) == ["file"], "something was made beside the tree")
    let file = try Descriptor(opening: "file", in: beside, O_RDONLY)
    hold(
        try file.status().st_mode == S_IFREG | 0o600 && file.status().st_uid == 0,
        "the file beside has changed")
    hold(try file.readAll(limit: 100) == Array("beside".utf8), "the file beside was written to")
    hold(try parent.names(atMost: 10) == ["a"], "something was made in the parent")
}

private let own = [UInt8](repeating: 1, count: 16)
private let others = [UInt8](repeating: 2, count: 16)

private func attributes(of command: Command, _ program: inout Program) -> [(Attribute, [UInt8])] {
    let kinds: [Attribute] =
        switch command {
        case .makeDevice: [.path, .mode, .device]
        case .makeLink, .link: [.path, .target]
        case .rename: [.path, .pathTo]
        case .setAttribute: [.path, .attributeName, .attributeValue]
        case .removeAttribute: [.path, .attributeName]
        case .write: [.path, .offset, .data]
        case .clone: [.path, .offset, .cloneLength, .cloneUUID, .cloneTransaction, .clonePath, .cloneOffset]
        case .truncate: [.path, .size]
        case .changeMode: [.path, .mode]
        case .changeOwner: [.path, .owner, .group]
        case .setTimes: [.path, .accessed, .modified, .changed]
        case .allocate: [.path, .allocationMode, .offset, .size]
        case .setFlags: [.path, .flags]
        case .writeEncoded:
            [
                .path, .offset, .unencodedFileLength, .unencodedLength, .unencodedOffset, .compression,
                .encryption,
                .data,
            ]
        default: [.path]
        }
    let left = program.byte()
    return kinds.enumerated().filter { left < 250 || $0.offset != Int(left) % kinds.count }.map {
        ($0.element, value(of: $0.element, in: command, &program))
    }
}

private func value(of attribute: Attribute, in command: Command, _ program: inout Program) -> [UInt8] {
    switch attribute {
    case .path, .pathTo, .clonePath, .target: return path(&program)
    case .attributeName:
        let names = [
            "user.a", "security.capability", "system.posix_acl_default", "system.posix_acl_access",
            "btrfs.compression", "trusted.a", "", "user.\0",
        ]
        return Array(names[program.number(below: names.count)].utf8)
    case .attributeValue, .data:
        let count = Int(program.byte())
        return program.take(count)
    case .cloneUUID: return program.byte() & 1 == 0 ? own : others
    case .allocationMode, .compression, .encryption: return little(UInt64(program.byte()), 4)
    case .accessed, .modified, .changed: return program.take(12)
    // What is allocated takes memory.
    case .offset where command == .allocate, .size where command == .allocate:
        return little(UInt64(program.byte()) << 8, 8)
    default:
        let short = program.byte()
        return little(short < 200 ? UInt64(short) << 6 : program.number(bytes: 8), 8)
    }
}

private func path(_ program: inout Program) -> [UInt8] {
    let names = [
        "a", "b", "c", "..", ".", "", "/", "beside", "parent", Ground.path, "file",
        String(repeating: "n", count: 256),
    ]
    let shape = Int(program.byte())
    return Array(
        (0..<[1, 1, 1, 2, 2, 3, 5, 0][shape & 7]).map { _ in
            // Rather one that is there.
            let choice = Int(program.byte())
            return names[choice < 160 ? choice % 3 : choice % names.count]
        }.joined(separator: "/").utf8)
}

private func command(_ command: Command, _ attributes: [(Attribute, [UInt8])], _ version: UInt8) -> [UInt8] {
    var payload: [UInt8] = []
    for (attribute, value) in attributes {
        payload += little(UInt64(attribute.rawValue), 2)
        if version < 2 || attribute != .data { payload += little(UInt64(value.count), 2) }
        payload += value
    }
    return withRightChecksum(
        little(UInt64(payload.count), 4) + little(UInt64(command.rawValue), 2) + [0, 0, 0, 0] + payload)
}

private func little(_ number: UInt64, _ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: number >> (8 * UInt64($0))) }
}

/// The folder in which the tree lies, beside another one; made once.
private enum Ground {
    static let path: String = {
        var name = Array("/dev/shm/escapepod-fuzz-XXXXXX".utf8CString)
        guard mkdtemp(&name) != nil else { fatalError("no folder in /dev/shm") }
        let path = String(decoding: name.dropLast().map(UInt8.init), as: UTF8.self)
        leftover = strdup(path)
        atexit {
            guard let leftover else { return }
            if let ground = try? Descriptor.folder(at: String(cString: leftover)) {
                try? Ground.empty(ground)
            }
            rmdir(leftover)
        }
        do {
            let ground = try Descriptor.folder(at: path)
            guard mkdirat(ground.number, "beside", 0o700) == 0 else { fatalError("mkdir") }
            let beside = try Descriptor(opening: "beside", in: ground, O_RDONLY | O_DIRECTORY)
            try Descriptor(opening: "file", in: beside, O_WRONLY | O_CREAT, mode: 0o600).write(
                Array("beside".utf8))
        } catch { fatalError("\(error)") }
        return path
    }()

    static func clear(in ground: borrowing Descriptor) throws {
        for name in try ground.names(atMost: 10) where name == "tree" || name == "parent" {
            try empty(Descriptor(opening: name, in: ground, O_RDONLY | O_DIRECTORY | O_NOFOLLOW))
            guard unlinkat(ground.number, name, AT_REMOVEDIR) == 0 else {
                throw Failure.system("rmdir", at: name)
            }
        }
    }

    static func empty(_ folder: borrowing Descriptor) throws {
        for name in try folder.names(atMost: 100_000) where unlinkat(folder.number, name, 0) != 0 {
            try empty(Descriptor(opening: name, in: folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW))
            unlinkat(folder.number, name, AT_REMOVEDIR)
        }
    }
}

nonisolated(unsafe) private var leftover: UnsafeMutablePointer<CChar>?
