import ArgumentParser
import Envelope
import Glibc
import Plumbing
import Sealing
import Tool

@main
struct Unseal: Tool {
    static let configuration = CommandConfiguration(
        commandName: "ep-unseal", abstract: "Open a sealed stream: standard input to standard output.",
        discussion: "A series of sealed metadata, as ep-fetch history writes it, becomes a history.",
        version: version)

    @Option(help: .init("The key file.", valueName: "file"))
    var key: String

    @OptionGroup var content: KindOption

    @OptionGroup var progress: ProgressOptions

    @Flag(help: "Verify the whole stream and write nothing; read it to its end whatever it is.")
    var check = false

    func run() throws {
        let key = try KeyFile.read(key) { warn($0, from: "ep-unseal") }
        let output = try check ? Descriptor(opening: "/dev/null", O_WRONLY) : .standardOutput
        let input = Descriptor.standardInput
        var front: [UInt8] = []
        if content.kind == .metadata {
            front = [UInt8](repeating: 0, count: Series.magicLength)
            front.removeLast(
                front.count - (try front.withUnsafeMutableBytes { try input.readFully(into: $0) }))
            if Series.recognises(front) { return try openSeries(behind: front, under: key, output) }
        }
        var meter = progress.meter
        do {
            try unseal(
                content.kind, under: key, from: input, behind: front, to: output,
                progress: { meter.advance(to: $0) })
        } catch {
            // The stage in front then comes to its end, and can say whether this is what was stored.
            if check || (error as? Failure)?.status == .badData { try? input.drain() }
            throw error
        }
        meter.finish()
    }

    private func openSeries(behind front: [UInt8], under key: Key, _ output: borrowing Descriptor) throws {
        // With the wrong key, none of them opens.
        let most = 10
        var complaints = 0
        let missing = try unsealSeries(
            under: key, from: .standardInput, behind: front, to: output,
            complain: {
                complaints += 1
                if complaints <= most { say($0.message(from: "ep-unseal")) }
            })
        if complaints > most { say("ep-unseal: and \(complaints - most) more") }
        // Whoever reads the lines sees which; the last of them says that all have come.
        if missing > 0 { throw ExitCode(ExitStatus.attention.rawValue) }
    }
}
