import Plumbing
import Tool

/// The programs that make QR codes and PDF. They get their input through a pipe: everybody can read arguments.
enum Paper {
    /// The text as a QR code; none, with a warning, if qrencode(1) is not installed.
    static func code(of text: String) throws -> [[Bool]] {
        let drawn: [UInt8]
        do {
            drawn = try output(
                of: ["qrencode", "--type=ASCII", "--margin=0", "--level=M", "--output=-"], for: text)
        } catch let failure as Failure where failure.status == .unavailable {
            warn(
                "no QR code on the sheet: that needs qrencode, Debian's package of that name", from: "ep-key"
            )
            return []
        }
        // Two characters for each module.
        return drawn.split(separator: UInt8(ascii: "\n")).map { line in
            stride(from: 0, to: line.count, by: 2).map { line[line.startIndex + $0] == UInt8(ascii: "#") }
        }
    }

    static func pdf(of sheet: Sheet) throws -> [UInt8] {
        do {
            return try output(of: ["groff", "-Kutf8", "-Tpdf", "-P-pa4"], for: sheet.troff)
        } catch let failure as Failure where failure.status == .unavailable {
            throw Failure(
                failure.status, failure.what, at: failure.place,
                hint:
                    "a PDF needs Debian's packages groff and perl; the sheet as text needs neither")
        }
    }

    private static func output(of command: [String], for input: String) throws -> [UInt8] {
        var child = try Child(command, input: Array(input.utf8))
        let output = try child.output.readAll(limit: 1 << 20)
        let ending = try child.wait()
        guard ending.isSuccess else { throw Failure(.unavailable, "\(command[0]) \(ending)") }
        return output
    }
}
