import ArgumentParser
import Glibc
import OpenSSL
import Plumbing
import Sealing
import Tool

@main
struct KeyTool: Tool {
    static let configuration = CommandConfiguration(
        commandName: "ep-key",
        abstract: "Create keys, keep them under a passphrase or on paper, and get them back.",
        version: version,
        subcommands: [
            Generate.self, ID.self, Copy.self, Wrap.self, Unwrap.self, NewPassphrase.self, PrintSheet.self,
            MAC.self,
        ])

    struct Generate: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "generate",
            abstract: "Create a key in a new file, mode 0600, and print its id.")

        @Argument(help: "The file to create; an existing one is never overwritten.")
        var file: String

        @Flag(help: "Create missing parent folders, with mode 0700.")
        var parents = false

        func run() throws {
            let key = try Key.generate()
            if parents { try makeFolders(above: file) }
            try KeyFile.create(key, at: file)
            try put(key.id().hex)
        }
    }

    struct ID: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "id", abstract: "Print the id by which sealed streams identify the key.")

        @Argument(help: "The key file, or a key sealed under a passphrase.")
        var file: String

        func run() throws {
            let bytes = try Descriptor(opening: file, O_RDONLY).readAll(limit: 64 << 10)
            let isSealed = bytes.starts(with: Array("EPODSEAL".utf8))
            let id = try isSealed ? WrappedKey(parsing: bytes, at: file).keyID : KeyTool.read(file).id()
            try put(id.hex)
        }
    }

    struct Copy: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "copy",
            abstract: "Copy a key to a new file, mode 0600, and print its id.")

        @Argument(help: "The key file.")
        var file: String

        @Argument(help: "The file to create; an existing one is never overwritten.")
        var new: String

        @Flag(help: "Leave a copy of this very key that is there already.")
        var keep = false

        @Flag(help: "Only check that nothing else is there; the key itself may still be missing.")
        var check = false

        func run() throws {
            if keep || check, isThere(new) {
                let there = try? KeyTool.read(new).id()
                guard let there, exists(file), try there == KeyTool.read(file).id() else {
                    throw Failure(
                        .io, "will not overwrite another key", at: new,
                        hint:
                            "choose another place; if it is the key that is wanted:  ep-key copy \(new) \(file)"
                    )
                }
            } else if !check {
                try KeyFile.create(KeyTool.read(file), at: new)
            }
            if !check { try put(KeyTool.read(file).id().hex) }
        }

        /// Also where it is a link to nothing.
        private func isThere(_ path: String) -> Bool {
            var status = stat()
            return lstat(path, &status) == 0
        }
    }

    struct Wrap: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "wrap",
            abstract: "Seal a key under a passphrase, and write the wrapped key to standard output.")

        @OptionGroup var source: PassphraseOptions

        @Option(
            help: .init(
                "Show ten new words, seal the key under them, and write it to this file instead.",
                valueName: "file"))
        var newWords: String?

        @Argument(help: "The key file.")
        var file: String

        func validate() throws {
            guard newWords == nil || !source.isGiven else {
                throw ValidationError("'--new-words' is a passphrase: give no other")
            }
        }

        func run() throws {
            let key = try KeyTool.read(file)
            guard let newWords else {
                return try Descriptor.standardOutput.write(WrappedKey.wrap(key, under: source.choose()))
            }
            try NewWords.show(file: newWords) { try WrappedKey.wrap(key, under: $0) }
        }
    }

    struct Unwrap: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "unwrap",
            abstract: "Open the wrapped key on standard input, and print its id.")

        @OptionGroup var source: PassphraseOptions

        @Option(help: .init("The id that the key must have.", valueName: "id"))
        var id: String?

        @Argument(help: "The key file to create, mode 0600; an existing one is never overwritten.")
        var file: String

        func validate() throws {
            guard id?.isHex(bytes: 16) != false else {
                throw ValidationError("a key's id has 32 lower-case hexadecimal digits")
            }
        }

        func run() throws {
            let input = Descriptor.standardInput
            let wrapped = try WrappedKey(parsing: input.readAll(limit: 64 << 10), at: input.name)
            if let id { try wrapped.require(id: id) }
            let passphrase = try source.ask()
            if wrapped.cost > 1 {
                say(
                    "ep-key: trying the passphrase; with this key it takes \(wrapped.cost) times as long as usual"
                )
            }
            let key = try wrapped.unwrap(with: passphrase)
            try KeyFile.create(key, at: file)
            try put(key.id().hex)
        }
    }

    struct NewPassphrase: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "passphrase", abstract: "Print a new passphrase of ten words, or one that is chosen."
        )

        @OptionGroup var source: PassphraseOptions

        @Flag(help: "Ask for it on the terminal, twice, and print it as it was typed.")
        var ask = false

        func run() throws {
            let passphrase = try ask || source.isGiven ? source.choose(asTyped: true) : Passphrase.generate()
            try passphrase.withBytes { try Descriptor.standardOutput.write($0) }
            try Descriptor.standardOutput.write(Array("\n".utf8))
        }
    }

    struct PrintSheet: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "sheet",
            abstract: "Print the recovery sheet: the key and how to restore with it, on one page."
        )

        @Option(help: .init("The name of the system that is backed up.", valueName: "domain"))
        var domain: String

        @Option(help: .init("The store that has the backups.", valueName: "url"))
        var store: String

        @Option(help: .init("The generation of the newest backup.", valueName: "number"))
        var generation: UInt64?

        @Option(help: .init("The date of the newest backup.", valueName: "date"))
        var date: String?

        @Option(
            help: .init(
                "The program escapepod-open, whose SHA-256 goes on the page.", valueName: "file"))
        var opener: String?

        @Flag(help: "A whole machine is backed up: say how to rebuild it.")
        var system = false

        @Option(help: .init("Write a page of A4 to this file instead.", valueName: "file"))
        var pdf: String?

        @Argument(help: "The key file.")
        var file: String

        func validate() throws {
            guard (generation == nil) == (date == nil) else {
                throw ValidationError("'--generation' and '--date' must be given together")
            }
            // A page has so much room, and its font Western letters.
            let texts = [domain, store, date ?? ""]
            guard texts.map(\.count).reduce(0, +) <= 500 else {
                throw ValidationError("domain, store and date are too long for one page")
            }
            let isPrintable = { (scalar: Unicode.Scalar) in
                (0x20...0x7e).contains(scalar.value)
                    || scalar.value > 0xa0 && (pdf == nil || scalar.value <= 0xff)
            }
            guard texts.allSatisfy({ $0.unicodeScalars.allSatisfy(isPrintable) }) else {
                throw ValidationError("domain, store or date has a character that cannot be printed")
            }
        }

        func run() throws {
            let key = try KeyTool.read(file)
            let sheet = Sheet(
                key: key.text, id: try key.id().hex, domain: domain, store: store,
                newest: generation.flatMap { generation in date.map { (generation, $0) } },
                isSystem: system,
                opener: try opener.map {
                    try Digest.hex(.sha256, of: Descriptor.file(at: $0).readAll(limit: 1 << 20))
                },
                code: try Paper.code(of: key.text))
            if let pdf {
                try AtomicFile.write(Paper.pdf(of: sheet), to: pdf, mode: 0o600, replacing: false)
            } else {
                try Descriptor.standardOutput.write(Array(sheet.text.utf8))
            }
        }
    }

    static func read(_ file: String) throws -> Key {
        try KeyFile.read(file) { warn($0, from: "ep-key") }
    }
}
