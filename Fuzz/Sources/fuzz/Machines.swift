import Fuzzing
import JSON
import Plumbing

@testable import Layout
@testable import Snapshots

/// A capsule: its machine in the first line, a table of file systems in the lines up to an empty one, and then its members.
func machines(_ input: [UInt8]) throws {
    let halves = input.parts(at: "\n\n")
    let lines = (halves.first ?? []).parts(at: "\n")
    guard let machine = try accepted({ try Machine(parsing: lines.first ?? [], at: "input") }) else { return }
    hold(try Machine(parsing: machine.json.line, at: "again") == machine, "another machine")
    if halves.count > 1 {
        _ = try accepted {
            let members = try MemberBackup.read(halves[1], of: machine, at: "input")
            hold(members.map(\.0).count == machine.subvolumes.count, "a subvolume without a backup")
        }
    }
    let table = String(decoding: Array(lines.dropFirst().joined(separator: "\n".utf8)), as: UTF8.self)
    for (difference, sector) in [(0, 512), (1 << 30, 512), (-64 << 20, 512), (0, 4096)] as [(Int64, Int64)] {
        let size = (machine.disk.size + difference) / sector * sector
        guard size > 0 else { continue }
        let target = Layout.Target(path: "/dev/vdb", size: size, sector: sector)
        do {
            let plan = try Plan(
                machine, identity: input, on: target, named: .init(serial: nil, size: nil),
                firmware: machine.firmware.first ?? .uefi)
            try hold(plan, on: target)
            let adapted = FileSystemTable(table, on: plan)
            hold(adapted.text.count { $0 == "\n" } == table.count { $0 == "\n" }, "another number of lines")
            hold(
                adapted.changes.isEmpty == (adapted.text == table),
                "a change that is not told, or none that is")
        } catch let failure as Failure where [.badData, .io].contains(failure.status) {
        }
    }
}

private func hold(_ plan: Plan, on target: Layout.Target) throws {
    let real = plan.partitions.filter { !$0.isContainer }.sorted { $0.start < $1.start }
    for partition in plan.partitions {
        hold(partition.start >= 0 && partition.size >= 0 && partition.end <= target.size, "not on the disk")
        hold(partition.start % target.sector == 0 && partition.size % target.sector == 0, "between sectors")
    }
    for (one, next) in zip(real, real.dropFirst()) { hold(one.end <= next.start, "two that overlap") }
    hold(!plan.text.unicodeScalars.contains { $0.value < 0x20 && $0 != "\n" }, "a control character")
    for step in plan.steps + [plan.lastStep] {
        hold(step.command.contains { $0.hasPrefix(target.path) }, "a command that does not name the disk")
        hold(!step.command.contains { $0.utf8.contains(0) }, "an argument with a zero byte")
    }
    // Each partition is a line, and nothing else is.
    let script = plan.tableSteps[0].input.split(separator: "\n")
    hold(script.count { $0.hasPrefix(target.path) } == plan.partitions.count, "a line of its own")
    hold(script.count <= plan.partitions.count + 4, "another line")
    hold(JSON(plan.json.line) != nil, "no JSON")
}

extension JSON {
    fileprivate init?(_ line: [UInt8]) {
        guard let value = try? JSON(parsing: line, at: "again") else { return nil }
        self = value
    }
}

/// What a subvolume has recorded of its inode flags.
func flags(_ input: [UInt8]) throws {
    var again = FlagRecord()
    guard
        try isAccepted({
            try FlagRecord(input).each { path, flags in
                let bytes = path.dropLast().map { UInt8(bitPattern: $0) }
                hold(
                    !bytes.isEmpty && !bytes.contains(0) && bytes.first != UInt8(ascii: "/"),
                    "a path from elsewhere")
                hold(!bytes.parts(at: "/").contains(Array("..".utf8)), "a path that leads out")
                hold(!FlagRecord.isOurs(bytes), "a path into our own folder")
                again.add(bytes, flags)
            }
        })
    else { return }
    let written = again
    var count = 0
    try written.each { _, _ in count += 1 }
    hold(count == input.count { $0 == 0 }, "another number of entries")
}
