import Plumbing

extension History {
    /// A line for each backup, for people: what `escapepod list` prints.
    public var table: String {
        var text = History.row("GENERATION", "TYPE", "DATE", "SIZE", "BLOB")
        for entry in entries {
            let blob = String(entry.blob.prefix(16))
            switch entry.content {
            case .backup(let backup, let previous, _, let base):
                // The first one behind a full one is just the next.
                let isDifferential =
                    base?.index.map { entries[$0].backup?.type == .full && base?.generation != previous }
                    ?? false
                text += History.row(
                    "\(backup.generation)", isDifferential ? "differential" : backup.type.rawValue,
                    backup.date,
                    isPruned(backup) ? "pruned" : readable(bytes: UInt64(clamping: backup.size)), blob)
            case .damaged: text += History.row("?", "damaged", "", "", blob)
            case .unreadable: text += History.row("?", "unreadable", "", "", blob)
            }
        }
        return text
    }

    private static func row(
        _ generation: String, _ type: String, _ date: String, _ size: String, _ blob: String
    ) -> String {
        func pad(_ text: String, to width: Int) -> String {
            String(repeating: " ", count: max(0, width - text.count))
        }
        return pad(generation, to: 10) + generation + "  " + type + pad(type, to: 12) + "  " + date
            + pad(date, to: 20) + "  " + pad(size, to: 10) + size + "  \(blob)\n"
    }
}
