/// fstab(5), as far as a rebuild changes it.
struct FileSystemTable {
    private(set) var text: String
    /// For people.
    private(set) var changes: [String] = []

    init(_ text: String, on plan: Plan) {
        self.text = text
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        var adapted: [String] = []
        for line in lines {
            let fields = FileSystemTable.fields(line)
            guard fields.count >= 4, fields[2] == "btrfs" else {
                adapted.append(line)
                continue
            }
            let options = fields[3].split(separator: ",").map(String.init)
            guard
                let old = options.first(where: {
                    $0.hasPrefix("subvolid=") && $0 != "subvolid=5" && $0 != "subvolid=0"
                })
            else {
                adapted.append(line)
                continue
            }
            let isNamed = options.contains { $0.hasPrefix("subvol=") }
            let place = plan.machine.subvolumes.first { "subvolid=\($0.id)" == old }
            let new = options.compactMap { option -> String? in
                guard option == old else { return option }
                return isNamed ? nil : place.map { "subvol=/\($0.path)" } ?? option
            }
            guard new != options, let range = line.firstRange(of: String(fields[3])) else {
                adapted.append(line)
                continue
            }
            changes.append(
                "/etc/fstab: \(old) of \(fields[1]) became \(isNamed ? "its subvol= alone" : new.joined(separator: ","))"
            )
            adapted.append(
                line.replacing(
                    fields[3], with: new.isEmpty ? "defaults" : new.joined(separator: ","), subrange: range))
        }
        self.text = adapted.joined(separator: "\n")
    }

    static func fields(_ line: String) -> [Substring] {
        guard line.drop(while: { $0 == " " || $0 == "\t" }).first != "#" else { return [] }
        return line.split { $0 == " " || $0 == "\t" }
    }

    /// The subvolumes that lines name by their paths, without a slash at either end.
    static func subvolumes(of text: String) -> [String] {
        text.split(separator: "\n").compactMap { line in
            let fields = fields(String(line))
            guard fields.count > 3, fields[2] == "btrfs",
                let option = fields[3].split(separator: ",").first(where: { $0.hasPrefix("subvol=") })
            else { return nil }
            let path = option.dropFirst(7).split(separator: "/").joined(separator: "/")
            return path.isEmpty ? nil : path
        }
    }

    /// What the lines of a table are about, where it is told by an identity: the bare UUID, label or name.
    static func sources(of text: String, column: Int) -> [String] {
        text.split(separator: "\n").compactMap { line in
            let fields = fields(String(line))
            guard fields.count > column else { return nil }
            for kind in ["UUID", "LABEL", "PARTUUID", "PARTLABEL"] {
                for prefix in ["\(kind)=", "/dev/disk/by-\(kind.lowercased())/"]
                where fields[column].hasPrefix(prefix) {
                    return fields[column].dropFirst(prefix.utf8.count).filter { $0 != "\"" }
                }
            }
            // A disk's own name goes with it.
            return fields[column].hasPrefix("/dev/disk/") ? String(fields[column]) : nil
        }
    }
}
