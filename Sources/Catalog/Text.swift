import Plumbing

/// Assignments that a POSIX shell may `eval`, one a line: every value is in single quotes.
///
/// - Parameter variables: the values hold no zero byte.
public func shellAssignments(_ variables: [(name: String, value: String)]) -> String {
    variables.map { variable in
        // By scalars: to Swift, a quote with an accent behind it is another character.
        var quoted = ""
        for scalar in variable.value.unicodeScalars {
            if scalar == "'" { quoted += "'\\''" } else { quoted.unicodeScalars.append(scalar) }
        }
        return "\(variable.name)='\(quoted)'\n"
    }.joined()
}

extension Plan {
    /// What `ep-plan --format sh` prints.
    public var shell: String {
        shellAssignments([
            ("PLAN_TYPE", type.rawValue),
            ("PLAN_REASON", reason),
            ("PLAN_WARNING", warning ?? ""),
            ("PLAN_GENERATION", String(generation)),
            ("PLAN_FOLLOWS", follows ?? "none"),
            ("PLAN_HEAD_TYPE", headType?.rawValue ?? ""),
            ("PLAN_PARENT_SLOT", source?.slot ?? ""),
            ("PLAN_PARENT_PATH", source?.path ?? ""),
        ])
    }
}

extension Metadata {
    /// What `ep-meta show --format sh` prints.
    public var shell: String {
        shellAssignments([
            ("META_GENERATION", String(backup.generation)),
            ("META_TYPE", backup.type.rawValue),
            ("META_UUID", backup.uuid),
            ("META_DATE", backup.date),
            ("META_SIZE", String(backup.size)),
            ("META_SHA256", backup.sha256),
            ("META_SHA512", backup.sha512),
            ("META_PARENT_SHA256", parent?.sha256 ?? ""),
            ("META_PARENT_GENERATION", parent.map { String($0.generation) } ?? ""),
            ("META_PREVIOUS_GENERATION", previous.map { String($0.generation) } ?? ""),
            ("META_DOMAIN", backup.domain),
        ])
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
            row("size", "\(readable(bytes: UInt64(clamping: it.size))), sealed (\(it.size) bytes)")
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
        return lines.map { "\($0)\n" }.joined()
    }

    private static func day(_ date: String) -> String {
        "\(date.prefix(10)) \(date.dropFirst(11).prefix(8)) UTC"
    }
}
