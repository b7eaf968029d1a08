public import ArgumentParser

/// Where a passphrase comes from, if not from the person at the terminal: a file or a command; never an argument, which everybody
/// on the machine may read.
public struct PassphraseOptions: ParsableArguments {
    @Option(help: .init("Read the passphrase from this file.", valueName: "file"))
    public var passphraseFile: String?

    @Option(help: .init("Take the output of this shell command as the passphrase.", valueName: "command"))
    public var passphraseCommand: String?

    public init() {}

    public func validate() throws {
        guard passphraseFile == nil || passphraseCommand == nil else {
            throw ValidationError("give '--passphrase-file' or '--passphrase-command', not both")
        }
    }

    /// Whether the command line has it.
    public var isGiven: Bool { passphraseFile != nil || passphraseCommand != nil }
}
