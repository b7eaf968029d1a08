import Plumbing

extension Plan {
    /// What `ep-plan --format lines` prints: type, generation, `follows`, the head's type and the parent's slot with a space
    /// between each, and `none` for what there is not; then the reason, and then the warning or an empty line.
    public var lines: String {
        let words = [
            type.rawValue, "\(generation)", follows ?? "none", headType?.rawValue ?? "none",
            source.map { printable($0.slot) } ?? "none",
        ]
        return "\(words.joined(separator: " "))\n\(reason)\n\(warning ?? "")\n"
    }
}

extension Metadata {
    /// What `ep-meta show --format line` prints.
    public var line: String {
        "\(backup.generation) \(backup.type.rawValue) \(backup.date) \(backup.size) \(backup.sha256) \(backup.uuid) "
            + "\(backup.domain) \(parent?.sha256 ?? "none") \(readable(bytes: UInt64(clamping: backup.size)))\n"
    }

    /// A page for people, 78 columns wide where the producers' names allow it.
    public var page: String {
        var lines = ["\(backup.domain), generation \(backup.generation): \(backup.type.rawValue) backup", ""]
        func row(_ label: String, _ text: String) {
            lines.append("  " + (label + String(repeating: " ", count: 10)).prefix(10) + text)
        }
        func digest(_ label: String, _ hex: String) {
            // Two lines of 64 for a SHA-512: it sits under the SHA-256, and no terminal breaks it elsewhere.
            row(label, String(hex.prefix(64)))
            if hex.count > 64 { row("", String(hex.dropFirst(64))) }
        }
        func about(_ it: Backup) {
            row("taken", Metadata.day(it.date))
            row("snapshot", it.uuid)
            let before =
                it.uncompressed.map { ", compressed from \(readable(bytes: UInt64(clamping: $0)))" } ?? ""
            row("size", "\(readable(bytes: UInt64(clamping: it.size))), sealed (\(it.size) bytes)\(before)")
        }
        about(backup)
        digest("sha256", backup.sha256)
        digest("sha512", backup.sha512)
        let producer = backup.producer
        row(
            "made by",
            "escapepod \(printable(producer.escapepod)), btrfs-progs \(printable(producer.btrfsProgs)), "
                + "Linux \(printable(producer.kernel))")
        if let parent {
            lines += ["", "Builds on generation \(parent.generation), \(parent.type.rawValue):", ""]
            about(parent)
            digest("sha256", parent.sha256)
        }
        if let previous {
            lines += ["", "Follows the metadata of generation \(previous.generation):", ""]
            digest("sha512", previous.metadataSHA512)
        }
        if let members {
            lines += ["", "Names the backups of \(count(Int64(members.count), "member")):", ""]
            lines += members.map { "  \($0.domain), generation \($0.generation)" }
        }
        return lines.map { "\($0)\n" }.joined()
    }

    private static func day(_ date: String) -> String {
        "\(date.prefix(10)) \(date.dropFirst(11).prefix(8)) UTC"
    }
}
