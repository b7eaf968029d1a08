import ArgumentParser
import Plumbing
import Sealing
import Tool

@main
struct KeyTool: Tool {
    static let configuration = CommandConfiguration(
        commandName: "ep-key", abstract: "Make a key file, or say which key one holds.", version: version,
        subcommands: [Generate.self, ID.self])

    struct Generate: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a new key in a new file, mode 0600, and print its id.")

        @Argument(help: "The file; one that is there is never overwritten.")
        var file: String

        func run() throws {
            print(try KeyFile.generate(at: file).id().hex)
        }
    }

    struct ID: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "id", abstract: "Print the id by which sealed streams name the key.")

        @Argument(help: "The key file.")
        var file: String

        func run() throws {
            print(try KeyFile.read(file) { warn($0, from: "ep-key") }.id().hex)
        }
    }
}
