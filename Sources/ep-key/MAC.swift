import ArgumentParser
import Plumbing
import Sealing
import Tool

extension KeyTool {
    /// For the receipts of drills: proves that a holder of the key wrote them.
    struct MAC: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "mac",
            abstract: "Print the MAC of standard input under the key, or check one.")

        @Option(help: .init("Print nothing; succeed if this is the MAC.", valueName: "mac"))
        var check: String?

        @Argument(help: "The key file.")
        var file: String

        func validate() throws {
            guard check?.isHex(bytes: 32) != false else {
                throw ValidationError("a MAC has 64 lower-case hexadecimal digits")
            }
        }

        func run() throws {
            let key = try KeyTool.read(file)
            let input = Descriptor.standardInput
            let text = try input.readAll(limit: 1 << 20)
            guard let check else { return try put(key.mac(of: text).hex) }
            guard try key.accepts(mac: check.hexBytes, of: text) else {
                throw Failure(
                    .badData, "the MAC does not match this text and this key", at: input.name,
                    hint: "the text was changed, or made with another key")
            }
        }
    }
}
