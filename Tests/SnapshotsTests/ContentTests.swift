import Glibc
import Plumbing
import Testing

@testable import Snapshots

/// Holes and differences, on a real file system.
@Suite(.enabled(if: geteuid() == 0))
struct ContentTests {
    @Test func holesAreWhatIsNoData() throws {
        let system = try FileSystem()
        // Data in the first 64 KiB and from 1 MiB to 1 MiB + 4 KiB.
        try system.write([UInt8](repeating: 1, count: 1 << 16), to: "file")
        try system.write([UInt8](repeating: 1, count: 1 << 12), to: "file", at: 1 << 20)
        try system.make(folder: "folder")
        try system.write([2], to: "folder/file", at: 1 << 16)
        try system.subvolume("volume").snapshot(as: "snapshot", in: system.root, readOnly: true)
        symlinkat("file", try system.subvolume("volume").directory.number, "link")

        func holes(_ extents: (String, UInt64, UInt64)...) throws -> Holes {
            let holes = try Holes(in: system.subvolume("snapshot"))
            for (path, offset, length) in extents { holes.add(Array(path.utf8), at: offset, length: length) }
            return holes
        }
        let end: UInt64 = 1 << 20 + 1 << 12
        #expect(try holes(("file", 0, 1 << 16)).bytes == 0)
        #expect(try holes(("file", 0, 1 << 20)).bytes == 1 << 20 - 1 << 16)
        #expect(try holes(("file", 0, 1 << 20), ("file", 1 << 20, 1 << 12)).bytes == 1 << 20 - 1 << 16)
        #expect(try holes(("file", 1 << 15, 1 << 16)).bytes == 1 << 15)
        // Behind the end there is nothing but a hole.
        #expect(try holes(("file", end, 1 << 30)).bytes == 1 << 30)
        #expect(try holes(("folder/file", 0, 1 << 16)).bytes == 1 << 16)
        #expect(try holes(("file", 0, 1 << 17), ("folder/file", 0, 1 << 16)).bytes == 1 << 17)
        let most = try holes(("folder/file", 0, 1 << 16), ("file", 0, 1 << 20)).most
        #expect(most?.path == "file" && most?.bytes == 1 << 20 - 1 << 16)
        // What is no regular file there, and what no file has.
        for path in ["", "/", "absent", "folder", "link", "folder/absent", "file/file"] {
            #expect(try holes((path, 0, 1 << 20)).bytes == 0, "\(path)")
        }
        #expect(try holes(("file", .max, 1), ("file", 1, .max), ("file", 1 << 63 - 1, 1)).bytes == 0)
    }

    private func differences(
        _ system: FileSystem, allowingFilledHoles: Bool = false
    ) throws -> (lines: [String], report: ComparisonReport) {
        var lines: [String] = []
        let report = try compare(
            system.subvolume("snapshot"), with: system.subvolume("volume"),
            allowingFilledHoles: allowingFilledHoles, differs: { lines.append($0) }, progress: { _ in })
        return (lines, report)
    }

    @Test func zerosInPlaceOfAHoleAreADifferenceUnlessTheyMayBe() throws {
        let system = try FileSystem()
        try system.write([1], to: "file", at: 1 << 20)
        try system.subvolume("volume").snapshot(as: "snapshot", in: system.root, readOnly: true)
        let (same, report) = try differences(system)
        #expect(same.isEmpty && report == ComparisonReport(entries: 1, files: 1, bytes: 1 << 20 + 1))

        let times = try Times(of: "file", in: system)
        try system.write([UInt8](repeating: 0, count: 1 << 13), to: "file", at: 1 << 14)
        try times.set(of: "file", in: system)
        let filled = "the holes differ: 8192 bytes are in a hole on one side and zeros on the other"
        #expect(try differences(system).lines == ["file: \(filled)"])
        let (allowed, filling) = try differences(system, allowingFilledHoles: true)
        #expect(allowed.isEmpty && filling.filledHoles == 1 << 13 && filling.differences == 0)

        try system.write([7], to: "file", at: 1 << 14 + 5)
        try times.set(of: "file", in: system)
        #expect(
            try differences(system, allowingFilledHoles: true).lines
                == ["file: the content differs from byte \(1 << 14 + 5) on"])
    }

    @Test func oursAndNestedSubvolumesAreLeftOutAndNothingElse() throws {
        let system = try FileSystem()
        try system.make(folder: "a")
        try system.subvolume("volume").snapshot(as: "snapshot", in: system.root, readOnly: true)
        let times = try Times(of: ".", in: system)
        _ = try Slots(in: system.subvolume("volume"), name: "usb").create()
        try Subvolume.make("nested", in: system.subvolume("volume").directory)
        try times.set(of: ".", in: system)
        #expect(try differences(system).lines == [])
        try system.make(folder: "a/.escapepod")
        try system.make(folder: "b\u{1b}")
        let lines = try differences(system).lines.filter { !$0.contains("modification time") }
        #expect(lines.sorted() == ["a/.escapepod: is not in the original", "b\\x1b: is not in the original"])
    }
}

/// When something in the volume was changed, to be set again.
private struct Times {
    let modified: timespec

    init(of name: String, in system: FileSystem) throws {
        var status = stat()
        let volume = try system.subvolume("volume")
        try #require(fstatat(volume.directory.number, name, &status, 0) == 0)
        modified = status.st_mtim
    }

    func set(of name: String, in system: FileSystem) throws {
        let volume = try system.subvolume("volume")
        try #require(utimensat(volume.directory.number, name, [modified, modified], 0) == 0)
    }
}
