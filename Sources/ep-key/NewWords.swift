import ArgumentParser
import Glibc
import Plumbing
import Sealing
import Tool

/// A new passphrase of ten words, shown once to the person who has to know it.
enum NewWords {
    /// Shows the words on standard output, and keeps in a file what `seal` makes of them once they have been seen: nothing is
    /// sealed under words that nobody knows. Whatever ends the process before the file is there says that they are void.
    static func show(file: String, seal: (Passphrase) throws -> [UInt8]) throws {
        let passphrase = try Passphrase.generate()
        guard farewell != nil else { throw Failure.system("cannot show new words", at: nil) }
        let actions = [SIGINT, SIGTERM, SIGHUP].map { ($0, signal($0, sayAndDie)) }
        defer { for (number, action) in actions { signal(number, action) } }
        do {
            let words = passphrase.withBytes { String(decoding: $0, as: UTF8.self) }
            try put(
                "The store gets the key too, sealed under these ten words. They are shown only once:\n\n  \(words)\n"
            )
            if isatty(0) == 1, isatty(1) == 1 { try ask(for: words.split(separator: " ").map(String.init)) }
            let sealed = try seal(passphrase)
            // From here on the file tells whether they may be in use.
            for (number, _) in actions { signal(number, SIG_IGN) }
            try AtomicFile.write(sealed, to: file, mode: 0o600, replacing: true)
        } catch {
            if let failure = error as? Failure { say(failure.message(from: "ep-key")) }
            say(areVoid)
            throw ExitCode((error as? Failure)?.status.rawValue ?? ExitStatus.bug.rawValue)
        }
    }

    /// A person shows that they are written down; elsewhere it is enough that they have been written out.
    private static func ask(for words: [String]) throws {
        try put("Write them down; then type two of them.")
        for index in words.indices.shuffled().prefix(2) {
            var answer = ""
            repeat {
                try Descriptor.standardOutput.write(Array("Word \(index + 1): ".utf8))
                answer = try line()
            } while answer.lowercased() != words[index]
        }
    }

    /// What is typed, as the terminal gives it: a line at a time.
    private static func line() throws -> String {
        let room = UnsafeMutableRawBufferPointer.allocate(byteCount: Passphrase.maximumLength, alignment: 1)
        defer { room.deallocate() }
        let count = try Descriptor.standardInput.read(into: room)
        guard count > 0 else { throw Failure(.usage, "the ten words were not confirmed") }
        return String(decoding: room[..<count], as: UTF8.self).split(whereSeparator: \.isWhitespace)
            .joined(separator: " ")
    }

    private static let areVoid = """
        ep-key: the ten words above are void
        ep-key: hint: nothing was stored under them; the next run shows new ones
        """
    /// The same for the signal handler, which can make nothing anew.
    private nonisolated(unsafe) static let farewell = strdup("\n\(areVoid)\n")

    private static let sayAndDie: @convention(c) (Int32) -> Void = { received in
        if let farewell { _ = write(2, farewell, strlen(farewell)) }
        signal(received, SIG_DFL)
        raise(received)
    }
}
