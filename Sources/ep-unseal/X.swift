import ArgumentParser
import Tool

@main
struct X: Tool {
    static let configuration = CommandConfiguration(commandName: "ep-unseal", abstract: "x", version: version)
    func run() throws {}
}
