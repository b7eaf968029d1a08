import Glibc
import JSON
import Plumbing
import Testing

@testable import Snapshots

@Suite(.enabled(if: geteuid() == 0))
struct SlotsTests {
    private let name = "usb"

    /// What each slot holds, by its UUID.
    private func held(_ slots: borrowing Slots) throws -> [Slot: String] {
        try slots.list().reduce(into: [:]) { held, holding in
            guard case .snapshot(let snapshot) = holding, let slot = snapshot.slot else { return }
            held[slot] = snapshot.uuid
        }
    }

    @Test(arguments: BackupType.allCases)
    func everyStateIsRotatedByTheSameRule(after type: BackupType) throws {
        let system = try FileSystem()
        for taken in 0..<(1 << Slot.allCases.count) {
            let slots = try Slots(in: system.subvolume("volume"), name: name)
            _ = try slots.create()
            try slots.discard()
            let home = try Descriptor(
                opening: ".escapepod", in: system.subvolume("volume").directory, O_RDONLY | O_DIRECTORY)
            let folder = try Descriptor(opening: name, in: home, O_RDONLY | O_DIRECTORY)
            for (bit, slot) in Slot.allCases.enumerated() where taken & 1 << bit != 0 {
                try system.subvolume("volume").snapshot(as: slot.rawValue, in: folder, readOnly: true)
            }
            var expected = try held(slots)
            #expect(expected.count == taken.nonzeroBitCount)

            try slots.rotate(after: type)
            if let current = expected.removeValue(forKey: .currentState) {
                switch type {
                case .full: expected = [.root: current]
                case .incremental:
                    expected[.lastParent] = expected[.currentParent] ?? expected[.lastParent]
                    expected[.currentParent] = current
                }
            }
            #expect(try held(slots) == expected, "slots taken: \(String(taken, radix: 2))")
            for slot in expected.keys { try Subvolume.delete(slot.rawValue, in: folder) }
        }
    }

    @Test func aSlotThatIsTakenIsBusyAndStays() throws {
        let system = try FileSystem()
        let slots = try Slots(in: system.subvolume("volume"), name: name)
        let made = try slots.create()
        #expect(made.slot == .currentState && made.isReadOnly && !made.isChanged && made.receivedUUID == nil)
        let failure = #expect(throws: Failure.self) { try slots.create() }
        #expect(failure?.status == .busy)
        #expect(try held(slots) == [.currentState: made.uuid])
        try slots.discard()
        try slots.discard()
        #expect(try held(slots).isEmpty)
    }

    @Test func onlyWhatWasReceivedIsImported() throws {
        let system = try FileSystem()
        let slots = try Slots(in: system.subvolume("volume"), name: name)
        try system.subvolume("volume").snapshot(as: "writable", in: system.root, readOnly: false)
        try system.subvolume("volume").snapshot(as: "own", in: system.root, readOnly: true)
        for name in ["writable", "own"] {
            let failure = #expect(throws: Failure.self) {
                try slots.importSnapshot(system.subvolume(name), into: .root)
            }
            #expect(failure?.status == .badData)
        }
        #expect(try held(slots).isEmpty)
        let sent = (1...16).map { UInt8($0) }
        try system.subvolume("writable").seal(received: sent, transaction: 7)
        let imported = try slots.importSnapshot(system.subvolume("writable"), into: .root)
        #expect(imported.receivedUUID == "01020304-0506-0708-090a-0b0c0d0e0f10")
        // One that lies there already stays, and another takes its place.
        #expect(
            try slots.importSnapshot(system.subvolume("volume/.escapepod/usb/root"), into: .root) == imported)
        let again = try slots.importSnapshot(system.subvolume("writable"), into: .root)
        #expect(again.uuid != imported.uuid && again.receivedUUID == imported.receivedUUID)
        #expect(try held(slots) == [.root: again.uuid])
    }

    @Test func aFolderOfSlotsIsMovedOnce() throws {
        let system = try FileSystem()
        let slots = try Slots(in: system.subvolume("volume"), name: name)
        let made = try slots.create()
        try slots.move(to: "disk")
        #expect(try held(slots).isEmpty)
        #expect(try held(Slots(in: system.subvolume("volume"), name: "disk")) == [.currentState: made.uuid])
        _ = try slots.create()
        let failure = #expect(throws: Failure.self) { try slots.move(to: "disk") }
        #expect(failure?.status == .busy)
    }

    @Test func namesOfFolders() throws {
        let system = try FileSystem()
        for name in ["a", "0._-a", String(repeating: "X", count: 64)] {
            _ = try Slots(in: system.subvolume("volume"), name: name)
        }
        for name in ["", ".", "..", ".x", "a/b", "a b", "a\n", "ä", String(repeating: "x", count: 65)] {
            let failure = #expect(throws: Failure.self) {
                _ = try Slots(in: system.subvolume("volume"), name: name)
            }
            #expect(failure?.status == .usage, "\(name)")
        }
    }

    @Test func nestedSubvolumesWithoutOurs() throws {
        let system = try FileSystem()
        _ = try Slots(in: system.subvolume("volume"), name: name).create()
        let volume = try system.subvolume("volume")
        for name in ["z", "a", ".escapepod-not"] { try Subvolume.make(name, in: volume.directory) }
        try Subvolume.make(".escapepod", in: system.subvolume("volume/a").directory)
        #expect(
            try volume.nested().map { String(decoding: $0.dropFirst(volume.path.utf8.count), as: UTF8.self) }
                == ["/.escapepod-not", "/a", "/a/.escapepod", "/z"])
    }
}
