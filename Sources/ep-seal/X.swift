import ArgumentParser
import Tool

@main
struct X: Tool {
    static let configuration = CommandConfiguration(commandName: "ep-seal", abstract: "x", version: version)
    func run() throws {}
}
