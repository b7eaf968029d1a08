import Glibc
import JSON
import Plumbing
import Testing

@testable import Snapshots

struct RecordTests {
    @Test func aUUIDOfZerosIsNone() {
        #expect(uuidOrNil((0, 0) as (UInt64, UInt64)) == nil)
        #expect(uuidOrNil((0, UInt64(1).bigEndian)) == "00000000-0000-0000-0000-000000000001")
        #expect(
            uuidOrNil((UInt64(0x0102_0304_0506_0708).bigEndian, UInt64(0x090a_0b0c_0d0e_0fff).bigEndian))
                == "01020304-0506-0708-090a-0b0c0d0e0fff")
    }

    @Test func countsThatNoNumberOfJSONHoldsAreClamped() {
        let report = ComparisonReport(entries: 3, files: 2, bytes: .max, filledHoles: 1 << 63, differences: 1)
        #expect(
            report.record.description
                == #"{"entries":3,"files":2,"bytes":9223372036854775807,"filledHoles":9223372036854775807,"differences":1}"#
        )
    }

    @Test func aStubNamesWhatItWasWithoutSteeringATerminal() {
        let stub = Stub(
            slot: .lastParent, path: "/v/.escapepod/usb/last-parent",
            elsewhere: [(Array("old\u{1b}/x".utf8) + [0xff], "u", nil), (Array("b".utf8), "v", "r")])
        #expect(
            Holding.stub(stub).record
                == [
                    "slot": "last-parent", "path": "/v/.escapepod/usb/last-parent", "stub": true,
                    "elsewhere": [
                        ["path": "old\\x1b/x\\xff", "uuid": "u", "receivedUuid": .null],
                        ["path": "b", "uuid": "v", "receivedUuid": "r"],
                    ],
                ])
    }

    @Test func whatIsNoBtrfsHasTheRoomThatItSays() throws {
        let room = try Room(in: "/proc", need: 1 << 40)
        #expect(room.available == 0 && room.warnings.isEmpty)
        #expect(throws: Failure.self) { try Room(in: "/proc/absent", need: 1) }
    }
}
