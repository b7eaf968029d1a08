import Glibc
import Plumbing
import Sealing
import Testing

@Suite struct KeyFiles {
    private let path = "/tmp/escapepod-test-key.\(UInt64.random(in: 0 ... .max))"

    @Test func isMadeOnceForItsOwnerAlone() throws {
        defer { unlink(path) }
        let key = try Key.generate()
        try KeyFile.create(key, at: path)
        var status = stat()
        #expect(stat(path, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
        var warnings: [String] = []
        #expect(try KeyFile.read(path) { warnings.append($0) }.text == key.text)
        #expect(warnings.isEmpty)
        #expect(throws: Failure.self) { try KeyFile.create(.generate(), at: path) }
        #expect(try KeyFile.read(path) { _ in }.text == key.text)
    }

    @Test func aWideModeIsWarnedOf() throws {
        defer { unlink(path) }
        try KeyFile.create(.generate(), at: path)
        chmod(path, 0o640)
        var warnings: [String] = []
        _ = try KeyFile.read(path) { warnings.append($0) }
        #expect(warnings.count == 1 && warnings[0].contains(path))
    }

    @Test func comesInEitherCaseWithCommentsAndSpaces() throws {
        let spaced = countingKey.enumerated().map { $0.offset % 5 == 4 ? "\($0.element) " : "\($0.element)" }
            .joined()
        for text in [countingKey, countingKey.lowercased(), "# mine\n\n  \(spaced)\r\n# end\n"] {
            #expect(try Key(parsing: text, at: "test").text == countingKey)
        }
    }

    @Test func everyWrongLetterIsSeen() {
        for index in countingKey.indices {
            for letter in "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-" where letter != countingKey[index] {
                var wrong = countingKey
                wrong.replaceSubrange(index...index, with: "\(letter)")
                let failure = #expect(throws: Failure.self) { try Key(parsing: wrong, at: "test") }
                #expect(failure?.status == .badData)
                #expect(failure?.message(from: "x").contains(wrong) == false, "a message never holds the key")
            }
        }
    }

    @Test func everyTwoNeighboursSwappedAreSeen() {
        let letters = Array(countingKey)
        for index in letters.indices.dropLast() where letters[index] != letters[index + 1] {
            var wrong = letters
            wrong.swapAt(index, index + 1)
            #expect(throws: Failure.self) { try Key(parsing: String(wrong), at: "test") }
        }
    }

    @Test(arguments: [
        "", "\n\n", "# only a comment\n", "hello", String(countingKey.dropLast()), countingKey + "Q",
    ])
    func whatIsNoKeyIsRefused(text: String) {
        let failure = #expect(throws: Failure.self) { try Key(parsing: text, at: "test") }
        #expect(failure?.status == .badData)
    }

    @Test func twoKeysAreRefused() {
        #expect(throws: Failure.self) { try Key(parsing: "\(countingKey)\n\(countingKey)", at: "test") }
    }
}
