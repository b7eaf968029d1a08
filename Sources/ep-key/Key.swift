import ArgumentParser
import Tool

@main
struct Key: Tool {
    static let configuration = CommandConfiguration(commandName: "ep-key", abstract: "x", version: version)
    func run() throws {}
}
