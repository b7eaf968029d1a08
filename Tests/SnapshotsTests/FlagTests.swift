import CLinux
import Glibc
import Plumbing
import Testing

@testable import Snapshots

struct FlagRecordTests {
    private func entries(_ text: String) throws -> [String] {
        var entries: [String] = []
        try FlagRecord(Array(text.utf8)).each { path, flags in
            entries.append("\(path.dropLast().map { UInt8(bitPattern: $0) }.hex) \(flags.rawValue)")
        }
        return entries
    }

    @Test func whatIsAddedIsRead() throws {
        var record = FlagRecord()
        record.add("a b/\u{1b}\n".utf8, [.appendOnly, .noCopyOnWrite])
        record.add([0xff], .immutable)
        record.add(".".utf8, .noCopyOnWrite)
        #expect(record.bytes == Array("Ca a b/\u{1b}\n\0i ".utf8) + [0xff] + Array("\0C .\0".utf8))
        var read: [[UInt8]: InodeFlags] = [:]
        try record.each { path, flags in
            #expect(path.last == 0)
            read[path.dropLast().map { UInt8(bitPattern: $0) }] = flags
        }
        #expect(
            read == [
                Array("a b/\u{1b}\n".utf8): [.appendOnly, .noCopyOnWrite], [0xff]: .immutable,
                [UInt8(ascii: ".")]: .noCopyOnWrite,
            ])
    }

    @Test(arguments: [
        "C a", "C a\0i b", "a\0", " a\0", "x a\0", "C  \0C \0", "C \0", "\0", "C /a\0", "C a/\0", "C a//b\0",
        "C ..\0", "C a/../b\0", "C a/.\0", "C ./a\0", "C .escapepod\0", "C .escapepod/a\0",
        "C \(String(repeating: "a/", count: 2047))aa\0",
    ])
    func whatIsNoRecordIsRefused(_ text: String) throws {
        let failure = #expect(throws: Failure.self) { try entries(text) }
        #expect(failure?.status == .badData)
    }

    @Test func noBytesTrapAndNonePassUnchecked() throws {
        let alphabet = Array("Cia ./\0.escapepod\u{ff}".utf8)
        for _ in 0..<20_000 {
            let bytes = (0..<Int.random(in: 0...24)).map { _ in alphabet.randomElement() ?? 0 }
            var again = FlagRecord()
            do {
                try FlagRecord(bytes).each { path, flags in
                    let path = path.dropLast().map { UInt8(bitPattern: $0) }
                    #expect(!path.isEmpty && path.first != UInt8(ascii: "/") && !path.contains(0))
                    again.add(path, flags)
                }
            } catch let failure as Failure where failure.status == .badData {}
            #expect(again.bytes.count <= bytes.count)
        }
    }

    @Test func namesThatMerelyLookLikeOthers() throws {
        #expect(
            try entries("C .escapepod2\0C a/.escapepod\0C ...\0C \(String(repeating: "a/", count: 2047))a\0")
                .count == 4)
    }
}

@Suite(.enabled(if: geteuid() == 0))
struct FlagTests {
    private func set(_ flags: InodeFlags, on name: String, in system: FileSystem) throws {
        let file = try Descriptor(opening: name, in: system.subvolume("volume").directory, O_RDONLY)
        try flags.set(on: file)
    }

    private func flags(of name: String, in system: FileSystem, _ volume: String = "volume") throws
        -> InodeFlags
    {
        try InodeFlags(
            of: Descriptor(opening: name, in: system.subvolume(volume).directory, O_RDONLY | O_NONBLOCK))
    }

    private func recorded(_: Snapshot, in system: FileSystem) throws -> String? {
        try FlagRecord(in: system.subvolume("volume/.escapepod/usb/current-state")).map {
            String(decoding: $0.bytes, as: UTF8.self)
        }
    }

    @Test func aSnapshotHasTheRecordOfItsOwnFlags() throws {
        let system = try FileSystem()
        let slots = try Slots(in: system.subvolume("volume"), name: "usb")
        #expect(try recorded(slots.create(), in: system) == "")
        try slots.discard()
        try system.make(folder: "folder")
        try set(.noCopyOnWrite, on: "folder", in: system)
        // What is made in it has the flag, and the link has it, too, where it means nothing.
        try system.write([1], to: "folder/file")
        symlinkat("file", try system.subvolume("volume").directory.number, "folder/link")
        try system.write([2], to: "log")
        try set([.appendOnly, .immutable], on: "log", in: system)
        try set(.noCopyOnWrite, on: ".", in: system)
        try set(.noCopyOnWrite, on: ".escapepod", in: system)
        let first = try slots.create()
        #expect(try recorded(first, in: system) == "C .\0C folder\0C folder/file\0ia log\0")
        #expect(!first.isChanged && first.isReadOnly)
        try slots.discard()
        try set([], on: "log", in: system)
        try set([], on: ".", in: system)
        let volume = try system.subvolume("volume")
        renameat(volume.directory.number, "folder", volume.directory.number, "other")
        #expect(try recorded(slots.create(), in: system) == "C other\0C other/file\0")
        try slots.discard()
        unlinkat(volume.directory.number, "other/file", 0)
        try set([], on: "other", in: system)
        #expect(try recorded(slots.create(), in: system) == "")
    }

    @Test func whatAnEarlierSnapshotKnowsSparesTheSearchAndNothingElse() throws {
        let system = try FileSystem()
        let volume = try system.subvolume("volume")
        let slots = try Slots(in: system.subvolume("volume"), name: "usb")
        // More than one block of the tree holds.
        var names = (0..<600).map { "file \($0)" }
        for name in names { try system.write([UInt8](repeating: 1, count: 500), to: name) }
        var seen = 0
        for round in 0..<40 {
            for _ in 0..<Int.random(in: 0...4) {
                let index = Int.random(in: names.indices)
                let flags = [InodeFlags.immutable, .appendOnly, []].randomElement() ?? []
                try set(flags, on: names[index], in: system)
                let other = Int.random(in: names.indices)
                guard try self.flags(of: names[other], in: system) == [] else { continue }
                let name = "file \(round)-\(other)"
                #expect(renameat(volume.directory.number, names[other], volume.directory.number, name) == 0)
                names[other] = name
            }
            _ = try slots.create()
            let taken = try system.subvolume("volume/.escapepod/usb/current-state")
            let whole = try taken.flagRecord(nil) { Issue.record("\($0)") }
            #expect(try FlagRecord(in: taken) == whole)
            seen = max(seen, whole.bytes.count(where: { $0 == 0 }))
            if let known = try slots.knownFlags() {
                #expect(try taken.flagRecord(known) { Issue.record("\($0)") } == whole)
            } else {
                #expect(round == 0)
            }
            try slots.rotate(after: round % 15 == 0 ? .full : .incremental)
        }
        #expect(seen > 10)
    }

    @Test func aFileChangesToNoCopyOnWriteAndBackWithAllThatItIs() throws {
        let system = try FileSystem()
        let volume = try system.subvolume("volume")
        for (name, length, end) in [("short", 5000, 9000), ("long", 3 << 20, 20 << 20), ("empty", 0, 0)] {
            var content = (0..<length).map { _ in UInt8.random(in: .min ... .max) }
            try system.write(content, to: name)
            if end > 0 { try system.write([7], to: name, at: off_t(end)) }
            linkat(volume.directory.number, name, volume.directory.number, "\(name) too", 0)
            let file = try Descriptor(opening: name, in: volume.directory, O_RDWR)
            let capability: [UInt8] = [0, 0, 0, 2] + [0, 4] + [UInt8](repeating: 0, count: 14)
            #expect(linux_fsetxattr(file.number, "security.capability", capability, capability.count) == 0)
            fchmod(file.number, 0o4711)
            let before = try file.status()
            for wanted in [true, true, false] {
                #expect(try file.setNoCopyOnWrite(wanted, copyingIn: volume.directory))
                #expect(try flags(of: "\(name) too", in: system) == (wanted ? .noCopyOnWrite : []))
                let after = try file.status()
                #expect(
                    after.st_mtim.tv_nsec == before.st_mtim.tv_nsec && after.st_mode == before.st_mode
                        && after.st_size == before.st_size && after.st_ino == before.st_ino
                        && after.st_nlink == 2)
                var value = [UInt8](repeating: 0, count: 64)
                #expect(linux_fgetxattr(file.number, "security.capability", &value, 64) == 20)
                #expect(value.prefix(20).elementsEqual(capability))
                lseek(file.number, 0, SEEK_SET)
                content = try file.readAll(limit: 1 << 25)
                #expect(content.count == Int(before.st_size))
            }
            // With its hole.
            try volume.directory.syncFileSystem()
            #expect(try file.status().st_blocks * 512 <= length + (16 << 10))
        }
    }

    /// A read-only snapshot `received` of the volume, which has that record.
    private func receive(_ record: [UInt8], in system: FileSystem) throws {
        let volume = try system.subvolume("volume")
        mkdirat(volume.directory.number, ".escapepod", 0o700)
        try system.write(record, to: ".escapepod/.flags")
        try system.subvolume("volume").snapshot(as: "received", in: system.root, readOnly: false)
    }

    @Test func aHostileRecordReachesNothingElse() throws {
        let system = try FileSystem()
        let volume = try system.subvolume("volume")
        try Subvolume.make("other", in: system.root)
        let other = try Descriptor(
            opening: "file", in: system.subvolume("other").directory, O_WRONLY | O_CREAT, mode: 0o600)
        try system.make(folder: "folder")
        symlinkat("../other/file", volume.directory.number, "link")
        symlinkat("../other", volume.directory.number, "way")
        symlinkat("folder", volume.directory.number, "inside")
        mkfifoat(volume.directory.number, "pipe", 0o600)
        mknodat(volume.directory.number, "device", S_IFCHR | 0o600, 0x103)
        try system.write([1], to: "folder/file")
        let names = [
            "link", "way/file", "way", "inside/file", "pipe", "device", "absent", "folder/absent",
            "folder/file/x",
        ]
        try receive(Array(names.map { "Cia \($0)\0" }.joined().utf8), in: system)
        let received = try system.subvolume("received")
        try received.restoreNoCopyOnWrite(before: [:])
        var warnings: [String] = []
        try received.restoreFlags(.all) { warnings.append($0) }
        // Each for the one flag and for the others.
        #expect(warnings.count == 2 * names.count && Set(warnings).count == names.count)
        #expect(warnings.allSatisfy { $0.hasPrefix("an inode flag did not come back: ") })
        #expect(try InodeFlags(of: other) == [])
        #expect(try flags(of: "folder/file", in: system, "received") == [])
        #expect(try InodeFlags(of: received.directory) == [])
    }

    @Test func aRootThatWouldKeepItsSnapshotsIsRefused() throws {
        let system = try FileSystem()
        let slots = try Slots(in: system.subvolume("volume"), name: "usb")
        for flags in [InodeFlags.immutable, .appendOnly] {
            _ = try slots.create()
            try slots.discard()
            try set(flags, on: ".", in: system)
            let failure = #expect(throws: Failure.self) { try slots.create() }
            #expect(try failure?.status == .denied && slots.list().isEmpty)
            try set([], on: ".", in: system)
        }
        try receive(Array("Cia .\0".utf8), in: system)
        let received = try system.subvolume("received")
        var warnings: [String] = []
        try received.restoreFlags(.all) { warnings.append($0) }
        #expect(warnings == ["an inode flag did not come back: .: no backup of it would be possible"])
        #expect(try InodeFlags(of: received.directory) == .noCopyOnWrite)
    }

    @Test func aFileThatTheKernelDoesNotLetHaveTheFlagStaysAsItIs() throws {
        let system = try FileSystem()
        try system.write([1, 2, 3], to: "file")
        let file = try Descriptor(opening: "file", in: system.subvolume("volume").directory, O_RDONLY)
        #expect(linux_fsetxattr(file.number, "btrfs.compression", "zstd", 4) == 0)
        try receive(Array("C file\0".utf8), in: system)
        let received = try system.subvolume("received")
        try received.restoreNoCopyOnWrite(before: [:])
        var warnings: [String] = []
        try received.restoreFlags(.all) { warnings.append($0) }
        #expect(
            warnings == [
                "an inode flag did not come back: file: cannot set the inode flags: invalid argument"
            ])
        #expect(
            try Descriptor(opening: "file", in: received.directory, O_RDONLY).readAll(limit: 9) == [1, 2, 3])
    }

    @Test func anInodeThatHasItsFlagsAlreadyIsWell() throws {
        let system = try FileSystem()
        try system.write([1], to: "file")
        try receive(Array("ia file\0i file\0".utf8), in: system)
        let received = try system.subvolume("received")
        for _ in 0..<2 { try received.restoreFlags(.all) { Issue.record("\($0)") } }
        #expect(try flags(of: "file", in: system, "received") == [.immutable, .appendOnly])
    }

    @Test func warningsAreBounded() throws {
        let system = try FileSystem()
        try receive(Array(String(repeating: "i absent\0", count: 1000).utf8), in: system)
        var warnings: [String] = []
        try system.subvolume("received").restoreFlags(.all) { warnings.append($0) }
        #expect(
            warnings.count == 21
                && warnings.last == "inode flags of 980 more files and folders did not come back")
    }

    @Test func aRecordThatIsNoneIsToldAndNoMore() throws {
        let system = try FileSystem()
        try system.write([1], to: "file")
        try receive(Array("C file\0nonsense".utf8), in: system)
        let received = try system.subvolume("received")
        try received.restoreNoCopyOnWrite(before: [:])
        var warnings: [String] = []
        try received.restoreFlags(.all) { warnings.append($0) }
        #expect(
            warnings == ["the inode flags did not come back: not a record of inode flags: .escapepod/.flags"])
        #expect(throws: Failure.self) { try received.recordedFlags() }
    }

    @Test func aRecordInAFolderThatOthersMayChangeIsNone() throws {
        let system = try FileSystem()
        try system.write([1], to: "file")
        try receive(Array("i file\0".utf8), in: system)
        let received = try system.subvolume("received")
        let home = try Descriptor(opening: ".escapepod", in: received.directory, O_RDONLY)
        fchmod(home.number, 0o770)
        try received.restoreFlags(.all) { Issue.record("\($0)") }
        #expect(try flags(of: "file", in: system, "received") == [])
        fchmod(home.number, 0o700)
        try received.restoreFlags(.all) { Issue.record("\($0)") }
        #expect(try flags(of: "file", in: system, "received") == .immutable)
    }
}
