import ArgumentParser
import Tool

@main
struct X: Tool {
    static let configuration = CommandConfiguration(commandName: "ep-snap", abstract: "x", version: version)
    func run() throws {}
}
