import Plumbing
import Testing

@testable import Layout

private let mebibyte: Int64 = 1 << 20

@Suite struct PlanTests {
    private func plan(
        _ text: String = Pod.text(),
        on target: Target = Target(path: "/dev/vdb", size: 1024 * mebibyte, sector: 512),
        named: Plan.Named? = .init(serial: nil, size: nil), firmware: Firmware = .uefi
    ) throws -> Plan {
        try Plan(Pod.machine(text), identity: Array(text.utf8), on: target, named: named, firmware: firmware)
    }

    private func disk(_ size: Int64, sector: Int64 = 512) -> Target {
        Target(path: "/dev/vdb", size: size, sector: sector)
    }

    // MARK: - Sizes

    @Test func aDiskOfTheSameSizeIsTheSame() throws {
        let plan = try plan()
        #expect(try plan.partitions == Pod.machine().disk.partitions)
        #expect(plan.changes.isEmpty)
    }

    @Test func theLastBtrfsTakesWhatIsMore() throws {
        let plan = try plan(on: disk(1500 * mebibyte))
        #expect(plan.partitions.map(\.size) == [64 * mebibyte, 1276 * mebibyte, 100 * mebibyte])
        #expect(plan.partitions.map(\.start) == [mebibyte, 65 * mebibyte, 1341 * mebibyte])
        #expect(plan.changes.count == 2)
    }

    /// The numbers are those of a disk that is not a whole count of MiB.
    @Test func whatIsMoreIsTakenInWholeMiB() throws {
        let plan = try plan(on: disk(1500 * mebibyte + 512 * 3))
        #expect(plan.partitions.map(\.start) == [mebibyte, 65 * mebibyte, 1341 * mebibyte])
    }

    @Test func theLastBtrfsGivesWhatIsMissing() throws {
        let plan = try plan(on: disk(700 * mebibyte))
        #expect(plan.partitions.map(\.size) == [64 * mebibyte, 534 * mebibyte, 100 * mebibyte])
        #expect(plan.partitions.map(\.start) == [mebibyte, 65 * mebibyte, 599 * mebibyte])
        // 300 MiB are used: 330 and 16 have to stay.
        let failure = try #require(throws: Failure.self) { try self.plan(on: disk(500 * mebibyte)) }
        #expect(failure.status == .io)
        #expect(failure.what.contains("500.0 MiB") && failure.what.contains("needed"), "\(failure.what)")
    }

    /// The end of a GPT is its copy of itself.
    @Test func oneMiBTooSmall() throws {
        let text = Pod.text(disk: Pod.disk(used: 600 * mebibyte))
        let exact = try (800...1024).first { size in
            (try? plan(text, on: disk(Int64(size) * mebibyte))) != nil
        }
        let size = try #require(exact)
        #expect(throws: Failure.self) { try plan(text, on: disk(Int64(size - 1) * mebibyte)) }
        let last = try plan(text, on: disk(Int64(size) * mebibyte)).partitions.last
        #expect(last.map { $0.end <= Int64(size) * mebibyte - 16896 } == true)
    }

    @Test func largerSectors() throws {
        let plan = try plan(on: disk(1024 * mebibyte, sector: 4096))
        #expect(plan.steps[0].input.contains("/dev/vdb1 : start=256, size=16384, type=c12a7328"))
        #expect(!plan.steps[2].command.contains("-F"))
        let odd = Pod.text(disk: Pod.disk().replacing("907018240", with: "907018752"))
        let failure = try #require(throws: Failure.self) {
            try self.plan(odd, on: disk(1024 * mebibyte, sector: 4096))
        }
        #expect(failure.what.contains("middle of a sector"))
    }

    /// A BIOS finds its loader by the number of a sector.
    @Test func aLoaderBehindStaysWhereItIs() throws {
        let text = Pod.text(disk: Pod.disk(swapType: "21686148-6449-6e6f-744e-656564454649"))
        #expect(try plan(text, on: disk(1500 * mebibyte)).partitions == Pod.machine(text).disk.partitions)
        #expect(throws: Failure.self) { try plan(text, on: disk(700 * mebibyte)) }
    }

    // MARK: - Which disk

    @Test func aDiskThatIsNotEmptyIsNamed() throws {
        let full = Target(path: "/dev/vdb", size: 1024 * mebibyte, sector: 512, serial: "S 1", isEmpty: false)
        let failure = try #require(throws: Failure.self) { try plan(on: full) }
        #expect(failure.status == .denied)
        #expect(failure.hint?.contains("--serial 'S 1'") == true)
        #expect(throws: Failure.self) { try plan(on: full, named: .init(serial: "S 2", size: nil)) }
        #expect(throws: Failure.self) {
            try plan(on: full, named: .init(serial: nil, size: 1024 * mebibyte - 512))
        }
        _ = try plan(on: full, named: .init(serial: "S 1", size: nil))
        _ = try plan(on: full, named: .init(serial: nil, size: 1024 * mebibyte))
    }

    @Test func anObstacleIsNoMatterOfNames() throws {
        let busy = Target(
            path: "/dev/vdb", size: 1024 * mebibyte, sector: 512, serial: "S",
            obstacle: .init(status: .busy, what: "the disk is in use", hint: "take another"))
        let failure = try #require(throws: Failure.self) {
            try plan(on: busy, named: .init(serial: "S", size: nil))
        }
        #expect(failure.status == .busy)
    }

    /// What was begun is known again by the id of its table; of another backup, or another plan, it is not.
    @Test func whatWasBegunGoesOn() throws {
        let begun = try plan()
        let id = begun.interimID
        func target(_ id: String, size: Int64 = 1024 * mebibyte) -> Target {
            Target(path: "/dev/vdb", size: size, sector: 512, tableID: id, isEmpty: false)
        }
        let again = try plan(on: target(id))
        #expect(again.isUnderWay)
        #expect(again.steps.first?.command.first == "mkfs.vfat")
        _ = try plan(on: target(id), named: nil)
        #expect(throws: Failure.self) { try plan(on: target(Pod.disk)) }
        #expect(throws: Failure.self) { try plan(on: target(Pod.disk), named: nil) }
        #expect(throws: Failure.self) {
            try plan(Pod.text().replacing("2026-11-28", with: "2026-11-29"), on: target(id))
        }
        #expect(throws: Failure.self) { try plan(on: target(id, size: 1025 * mebibyte)) }
        #expect(id.isUUID && id != Pod.disk)
    }

    @Test func anotherFirmware() throws {
        let failure = try #require(throws: Failure.self) { try plan(firmware: .bios) }
        #expect(failure.status == .badData && failure.hint?.contains("UEFI") == true)
        let both = Pod.text(firmware: #"["uefi","bios"]"#)
        _ = try plan(both, firmware: .bios)
        #expect(throws: Failure.self) {
            try plan(both, on: disk(1024 * mebibyte, sector: 4096), firmware: .bios)
        }
    }

    // MARK: - Commands

    @Test func whatIsRun() throws {
        let steps = try plan().steps
        #expect(
            steps.map { $0.command.first ?? "" } == ["sfdisk", "partx", "mkfs.vfat", "mkfs.btrfs", "mkswap"])
        #expect(steps.allSatisfy { $0.command.last?.hasPrefix("/dev/vdb") == true })
        #expect(steps[2].command == ["mkfs.vfat", "-F", "32", "-i", "3345351A", "-n", "ESP", "/dev/vdb1"])
        #expect(steps[3].command.contains(Pod.root))
        #expect(try plan().lastStep.command.suffix(3) == ["--disk-id", "/dev/vdb", Pod.disk])
    }

    @Test func partitionsOfADiskThatEndsInADigit() {
        #expect(Plan.device(2, on: "/dev/nvme0n1") == "/dev/nvme0n1p2")
        #expect(Plan.device(2, on: "/dev/sda") == "/dev/sda2")
    }

    @Test func aDOSTable() throws {
        let text = Pod.text(
            disk: Pod.disk(table: "dos", id: "0x1234abcd", firstType: "ef", swapType: "82").replacing(
                "0fc63daf-8483-4772-8e79-3d69d8477de4", with: "83"))
        let plan = try plan(text)
        #expect(plan.steps[0].input.hasPrefix("label: dos\nlabel-id: 0x"))
        #expect(!plan.steps[0].input.contains("first-lba"))
        let begun = Target(
            path: "/dev/vdb", size: 1024 * mebibyte, sector: 512,
            tableID: String(plan.interimID.dropFirst(2)),
            isEmpty: false)
        #expect(try self.plan(text, on: begun).isUnderWay)
    }

    // MARK: - fstab

    @Test(arguments: [
        ("UUID=x /home btrfs defaults,subvolid=257 0 0", "UUID=x /home btrfs defaults,subvol=/@home 0 0"),
        ("UUID=x\t/home\tbtrfs\tsubvolid=257,subvol=@home\t0 0", "UUID=x\t/home\tbtrfs\tsubvol=@home\t0 0"),
        ("UUID=x / btrfs subvolid=256,noatime 0 0 # root", "UUID=x / btrfs subvol=/@,noatime 0 0 # root"),
        ("# UUID=x / btrfs subvolid=256 0 0", "# UUID=x / btrfs subvolid=256 0 0"),
        ("UUID=x /top btrfs subvolid=5 0 0", "UUID=x /top btrfs subvolid=5 0 0"),
        ("UUID=x /other btrfs subvolid=999 0 0", "UUID=x /other btrfs subvolid=999 0 0"),
        ("UUID=x /boot ext4 defaults 0 2", "UUID=x /boot ext4 defaults 0 2"),
        ("", ""),
    ])
    func idsOfSubvolumesBecomePaths(_ old: String, _ new: String) throws {
        let table = try FileSystemTable("first\n\(old)\n", on: plan())
        #expect(table.text == "first\n\(new)\n")
        #expect(table.changes.isEmpty == (old == new))
    }
}
