import Plumbing

/// How the partitions of a machine's disk lie on another one.
struct Fitting {
    let partitions: [Partition]
    /// What is not as it was, for people.
    let changes: [String]

    /// Partitions start and end there, so that no disk has to read two of its own blocks for one of theirs.
    private static let step: Int64 = 1 << 20

    /// All keep their places, but for those behind the last btrfs: that one takes what the disk is larger, or gives what is
    /// missing, and what is behind it moves.
    ///
    /// - Throws: `io` where what is used does not fit, with the numbers.
    init(_ disk: Disk, size: Int64, sector: Int64) throws {
        func refuse(_ what: String, _ hint: String) -> Failure {
            Failure(.io, what, at: disk.name, hint: hint)
        }
        let real = disk.partitions.filter { !$0.isContainer }.sorted { $0.start < $1.start }
        guard let last = real.last, let stretched = real.last(where: { $0.content?.kind == .btrfs }) else {
            throw refuse("the machine has no partition with btrfs", "take another generation")
        }
        let tail = real.filter { $0.start > stretched.start }
        let usable = Fitting.usable(disk.table, size: size, sector: sector)
        var delta: Int64 = 0
        if last.end > usable {
            delta = -((last.end - usable + Fitting.step - 1) / Fitting.step * Fitting.step)
        } else if size > disk.size {
            delta = (size - disk.size) / Fitting.step * Fitting.step
        }
        var changes: [String] = []
        // Both are found by the numbers of their sectors.
        let isFixed = disk.partitions.contains { $0.isContainer } || tail.contains { isBIOSBoot($0.type) }
        if delta > 0, isFixed {
            changes.append("\(readable(bytes: UInt64(delta))) at the end of the disk stay free")
            delta = 0
        }
        // mkfs.btrfs takes no fewer than 109 MiB.
        let least =
            max((stretched.content?.used ?? 0) / 10 * 11 + (16 << 20), 128 << 20)
            + (stretched.encryption?.offset ?? 0)
        guard delta >= 0 || !isFixed && stretched.size + delta >= least else {
            let wanted = size + least - (stretched.size + delta)
            throw refuse(
                isFixed
                    ? "the disk is too small: \(readable(bytes: UInt64(size))), and the machine's had \(readable(bytes: UInt64(disk.size)))"
                    : "the disk is too small: \(readable(bytes: UInt64(size))), and \(readable(bytes: UInt64(wanted))) are needed",
                "take a larger disk")
        }
        if delta != 0 {
            changes.append(
                "partition \(stretched.number) has \(readable(bytes: UInt64(stretched.size + delta))); it had \(readable(bytes: UInt64(stretched.size)))"
            )
        }
        if delta != 0, !tail.isEmpty {
            changes.append(
                tail.count == 1
                    ? "partition \(tail[0].number) starts elsewhere"
                    : "partitions \(tail.map { "\($0.number)" }.joined(separator: ", ")) start elsewhere"
            )
        }
        if sector != disk.sector { changes.append("sectors have \(sector) bytes; they had \(disk.sector)") }
        partitions = try disk.partitions.map { partition in
            let isBehind = tail.contains(partition)
            let start = partition.start + (isBehind ? delta : 0)
            let size = (partition.size + (partition == stretched ? delta : 0)) / sector * sector
            guard start % sector == 0 else {
                throw refuse(
                    "partition \(partition.number) starts in the middle of a sector of \(sector) bytes",
                    "take a disk with sectors of \(disk.sector) bytes")
            }
            return partition.moved(to: start, size: size)
        }
        self.changes = changes
    }

    /// Where the room for partitions ends: a GPT has a copy of itself there (UEFI 5.3), and in a DOS table numbers of sectors have
    /// 32 bits.
    private static func usable(_ table: Disk.Table, size: Int64, sector: Int64) -> Int64 {
        switch table {
        case .gpt: size - (16 << 10) - sector
        case .dos: min(size, sector << 32)
        }
    }
}

extension Partition {
    func moved(to start: Int64, size: Int64) -> Partition {
        Partition(
            number: number, start: start, size: size, type: type, uuid: uuid, name: name,
            attributes: attributes,
            isBootable: isBootable, encryption: encryption, content: content, mount: mount)
    }
}
