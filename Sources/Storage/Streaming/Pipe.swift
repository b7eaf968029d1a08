import CLinux
import Glibc
import Plumbing

/// A pipe of which both ends are ours, close-on-exec.
final class Pipe: @unchecked Sendable {
    let output: Descriptor
    private var input: Descriptor?
    /// The number of the end that is written to.
    let inputNumber: Int32

    init() throws {
        var ends: [Int32] = [-1, -1]
        guard linux_pipe(&ends) == 0 else { throw Failure.system("cannot create a pipe", at: nil) }
        output = Descriptor(owning: ends[0], name: "pipe")
        input = Descriptor(owning: ends[1], name: "pipe")
        inputNumber = ends[1]
    }

    /// Closes the end that is written to; whoever reads sees the end.
    func close() { input = nil }
}
