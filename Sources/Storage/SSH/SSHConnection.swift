import CLinux
import Glibc
import Plumbing

/// Connections to `dunesea serve --stdio` on another machine, each through an `ssh` of its own.
///
/// All that ssh knows of the way there is its own: configuration, keys, agents, jump hosts, known hosts.
final class SSHConnection: Dialer {
    private let host: String
    private let port: String?
    private let directory: String
    private let url: String
    private let listener: Descriptor
    /// Where libcurl connects to.
    let localPort: UInt16
    /// Where it connects from; 0 once that has been taken up, since then somebody else may get the port.
    private var portOfOurs: UInt16 = 0
    private var ssh: Child?

    /// - Parameters:
    ///   - host: with a user in front, where one is given.
    ///   - url: what messages call the store.
    init(to host: String, port: String?, directory: String, called url: String) throws {
        let number = linux_loopback_socket(1, &portOfOurs)
        guard number >= 0 else { throw Failure.system("cannot create a socket", at: url) }
        listener = Descriptor(owning: number, name: "socket for ssh")
        localPort = portOfOurs
        portOfOurs = 0
        self.host = host
        self.port = port
        self.directory = directory
        self.url = url
    }

    private var command: [String] {
        let options = [
            "-T", "-oEscapeChar=none", "-oClearAllForwardings=yes", "-oForwardAgent=no", "-oLogLevel=ERROR",
        ]
        let port = port.map { ["-p", $0] } ?? []
        // Where the far end has a forced command for this key, that runs in its place.
        return ["ssh"] + options + port + ["--", host, "dunesea serve --stdio --dir \(quoted(directory))"]
    }

    /// For the shell of the far end.
    private func quoted(_ text: String) -> String {
        "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
    }

    func socket() -> Int32 { linux_loopback_socket(0, &portOfOurs) }

    func attend() throws {
        guard portOfOurs > 0 else { return }
        let come = linux_accept_from(listener.number, portOfOurs)
        guard come >= 0 else { return }
        portOfOurs = 0
        let far = Descriptor(owning: come, name: "ssh")
        ssh = nil
        ssh = try Child(command, on: far)
    }

    func reason() -> (any Error)? {
        guard var child = ssh.take() else { return nil }
        guard let ending = try? child.end(within: 2) else { return nil }
        let said = (try? child.output.readAll(limit: SSHConnection.longest)) ?? []
        let lines = String(decoding: said, as: UTF8.self).split(whereSeparator: \.isNewline)
        switch ending {
        // ssh(1): its own failures.
        case .status(255):
            // We ended it ourselves, where nothing came any more.
            guard let said = lines.last else { return nil }
            let what = printable(String(said))
            if what.contains("Permission denied") {
                return Failure(
                    .denied, what, at: url,
                    hint: "the far end has to know a key of this user: ssh \(host) tries it")
            }
            if what.contains("verification failed") || what.contains("Could not resolve") {
                return Failure(.unavailable, what, at: url, hint: "ssh \(host) says more")
            }
            return Interruption(failure: Failure(.unavailable, what))
        case .status(127):
            return Failure(
                .unavailable, "there is no dunesea on the far end", at: url,
                hint: "install escapepod-dunesea there, or put dunesea into the PATH that ssh gives")
        case .status(0), .signal: return nil
        case .status(let status):
            return farFailure(ExitStatus(rawValue: status), lines.map(String.init))
        }
    }

    /// Of what the far end says, in bytes.
    private static let longest = 64 << 10

    /// What `dunesea` on the far end ended in, in its words.
    private func farFailure(_ status: ExitStatus?, _ lines: [String]) -> any Error {
        let prefix = "dunesea: "
        let own = lines.filter { $0.hasPrefix(prefix) }.map { String($0.dropFirst(prefix.count)) }
        let hint = own.first { $0.hasPrefix("hint: ") }.map { printable(String($0.dropFirst(6))) }
        let what = printable(own.first { !$0.hasPrefix("hint: ") } ?? lines.last ?? "the far end failed")
        let failure = Failure(status ?? .unavailable, "the far end says: \(what)", at: url, hint: hint)
        return status == .busy ? Interruption(failure: failure) : failure
    }
}
