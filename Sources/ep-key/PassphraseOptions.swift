import Plumbing
import Sealing
import Tool

extension PassphraseOptions {
    /// An existing one.
    func ask() throws -> Passphrase {
        try given() ?? Terminal.ask("Passphrase: ")
    }

    /// A new one: a person types it twice.
    ///
    /// - Parameter asTyped: every space in it counts.
    func choose(asTyped: Bool = false) throws -> Passphrase {
        if let passphrase = try given(asTyped: asTyped) { return passphrase }
        let passphrase = try Terminal.ask("New passphrase: ", asTyped: asTyped)
        guard try Terminal.ask("Repeat it: ", asTyped: asTyped) == passphrase else {
            throw Failure(.badData, "the two passphrases differ")
        }
        return passphrase
    }

    private func given(asTyped: Bool = false) throws -> Passphrase? {
        if let passphraseFile {
            return try Passphrase(file: passphraseFile, asTyped: asTyped) { warn($0, from: "ep-key") }
        }
        guard let passphraseCommand else { return nil }
        var child = try Child(["/bin/sh", "-c", passphraseCommand])
        // The child's output cannot be lent while the child is waited for, so it is the number that is lent.
        let output = Descriptor(borrowing: child.output)
        return try Passphrase(reading: output, asTyped: asTyped) {
            let ending = try child.wait()
            guard ending.isSuccess else {
                throw Failure(.unavailable, "the passphrase command \(ending)", at: passphraseCommand)
            }
        }
    }
}
