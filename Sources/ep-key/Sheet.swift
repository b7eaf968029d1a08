/// The recovery sheet: one page with what a person needs on the day when the machine is gone.
struct Sheet {
    /// As in the key file.
    let key: String
    let id: String
    let domain: String
    let store: String
    /// The newest backup when the sheet is printed; nil if not given.
    let newest: (generation: UInt64, date: String)?
    /// Whether a whole machine is backed up there.
    let isSystem: Bool
    /// The SHA-256 of the installed escapepod-open, in hexadecimal; nil if not given.
    let opener: String?
    /// The key as a QR code: rows of modules, of which true is dark. None where it could not be made.
    let code: [[Bool]]

    private static let width = 80

    private enum Line {
        case title(String)
        case text(String)
    }

    private var lines: [Line] {
        let newest = newest.map { "generation \($0.generation) of \($0.date)" } ?? "not known"
        var lines: [Line] = []
        func text(_ texts: String...) { lines += texts.map { .text($0) } }
        func title(_ title: String) { lines += [.text(""), .title(title)] }
        func field(_ name: String, _ value: String) {
            var (name, rest) = (name, value[...])
            repeat {
                let piece = rest.prefix(Sheet.width - 10)
                text(name + String(repeating: " ", count: 10 - name.count) + piece)
                (name, rest) = ("", rest.dropFirst(piece.count))
            } while !rest.isEmpty
        }
        title("ESCAPEPOD RECOVERY SHEET")
        text("Whoever has this page can read the backups; without the key nobody can.")
        text("Keep it in a safe, away from the machine and from the store.", "")
        field("Domain", domain)
        field("Store", store)
        field("Key id", id)
        field("Newest", newest + " when this was printed")
        title("THE KEY")
        text("Type it into a file, KEYFILE, on one line. Spaces and case do not matter, and")
        text("typing errors are detected. After EPOD-KEY-1 there is no B, I, O or 1.", "")
        text("  " + grouped, "")
        text("This must print the key id above:", "", "  ep-key id KEYFILE")
        if isSystem {
            title("REBUILD THE MACHINE WITH ESCAPEPOD")
            text("On a rescue system, where DISK is the device of an empty disk:", "")
        } else {
            title("RESTORE WITH ESCAPEPOD")
            text("On a new machine, where DIR is a new folder on a mounted btrfs:", "")
        }
        lines += command.map { .text($0) }
        title("RESTORE WITHOUT ESCAPEPOD")
        text("The store has RECOVERY.txt with instructions, and the program escapepod-open,")
        text("which needs Debian's packages python3-cryptography, zstd and btrfs-progs:", "")
        text("  cat BLOB | python3 escapepod-open --key KEYFILE | btrfs receive DIR", "")
        if let opener {
            text("Check that program first, since a modified one could give the key away:", "")
            text("  sha256sum escapepod-open     must print", "  " + opener, "")
        }
        text("If that program is lost, escapepod's manual page escapepod-stream(5) describes")
        text("how to write another.")
        if !code.isEmpty {
            title("THE KEY AS A QR CODE")
            text("")
        }
        return Array(lines.dropFirst())
    }

    /// The key in groups that are easy to read and type.
    private var grouped: String {
        var rest = key.drop { $0 != "1" }.dropFirst()
        var groups = [key[..<rest.startIndex]]
        while !rest.isEmpty {
            groups.append(rest.prefix(6))
            rest = rest.dropFirst(6)
        }
        return groups.joined(separator: " ")
    }

    /// The command to type, in lines that the shell takes for one.
    private var command: [String] {
        let parts =
            [
                "--store " + quoted(store), "--domain " + quoted(domain), "--key KEYFILE",
                isSystem ? "--disk DISK" : "--to DIR",
            ]
            + (newest.map { ["--at-least-generation \($0.generation)"] } ?? [])
        var lines = ["  escapepod \(isSystem ? "rebuild" : "restore")"]
        for part in parts {
            if lines[lines.count - 1].count + part.count + 3 > Sheet.width {
                lines[lines.count - 1] += " \\"
                lines.append("    " + part)
            } else {
                lines[lines.count - 1] += " " + part
            }
        }
        return lines.flatMap(broken)
    }

    private func quoted(_ word: String) -> String {
        word.reduce(into: "") { quoted, letter in
            let isPlain = letter.isLetter || letter.isNumber || "-_./:@%+,=".contains(letter)
            quoted += isPlain ? "\(letter)" : "\\\(letter)"
        }
    }

    /// A line that is too long continues at the very start of the next, as the shell requires.
    private func broken(_ line: String) -> [String] {
        guard line.count > Sheet.width else { return [line] }
        var piece = line.prefix(Sheet.width - 1)
        if piece.hasSuffix("\\") { piece = piece.dropLast() }
        return [piece + "\\"] + broken(String(line[piece.endIndex...]))
    }
}

// MARK: - On paper

extension Sheet {
    /// As plain text, the code in block characters: dark is ink.
    var text: String {
        var text = ""
        for line in lines {
            switch line {
            case .title(let line), .text(let line): text += line + "\n"
            }
        }
        for row in stride(from: 0, to: code.count, by: 2) {
            text += "\n    "
            for column in code[row].indices {
                let below = row + 1 < code.count && code[row + 1][column]
                text += code[row][column] ? (below ? "█" : "▀") : (below ? "▄" : " ")
            }
        }
        return code.isEmpty ? text : text + "\n"
    }

    /// As groff(1) sets it on one page of A4.
    var troff: String {
        var text = ".pl 29.7c\n.po 2c\n.nf\n.fam C\n.ps 10\n.vs 11\n.sp 2c\n"
        for line in lines {
            switch line {
            case .title(let line): text += "\\fB\(Sheet.escaped(line))\\fP\n"
            case .text(let line): text += "\\&\(Sheet.escaped(line))\n"
            }
        }
        // Each module a square of four points, each run of dark ones a box.
        for (row, modules) in code.enumerated() {
            var column = 0
            while column < modules.count {
                let run = modules[column...].prefix { $0 }.count
                if run > 0 {
                    text += "\\Z@\\h'\(4 * column)p'\\v'\(4 * row)p'\\D'P \(4 * run)p 0 0 4p -\(4 * run)p 0'@"
                }
                column += max(run, 1)
            }
        }
        return text + "\n"
    }

    private static func escaped(_ line: String) -> String {
        let escapes: [Character: String] = [
            "\\": "\\(rs", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti",
        ]
        return line.reduce(into: "") { $0 += escapes[$1] ?? "\($1)" }
    }
}
