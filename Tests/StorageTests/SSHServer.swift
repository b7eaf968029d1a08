import Glibc
import Plumbing
import StoreFormat

@testable import Storage

/// A real sshd on a free port of the loopback interface, with the server of DuneSea behind it, and an `ssh` in PATH that finds
/// it; they end with the value.
final class SSHServer {
    private let scratch: Scratch
    private var process: Child
    let url: StoreURL

    init() throws {
        scratch = try Scratch()
        let place = scratch.path
        for name in ["host", "id"] {
            guard
                try Child.ending(of: [
                    "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "\(place)/\(name)",
                ])
                .isSuccess
            else { throw Failure(.bug, "no key for sshd", at: place) }
        }
        let forced =
            "restrict,command=\"dunesea serve --stdio --dir \(place)/store --keep-at-least 0\" "
        try scratch.write(Array(forced.utf8) + scratch.read("id.pub"), to: "authorized_keys")
        mkdir("\(place)/bin", 0o700)
        mkdir("\(place)/store", 0o700)
        mkdir("/run/sshd", 0o755)
        symlink(try DuneSeaServer.find(), "\(place)/bin/dunesea")
        let port = Int.random(in: 20000..<40000)
        try scratch.write(
            Array(
                """
                Port \(port)
                ListenAddress 127.0.0.1
                HostKey \(place)/host
                AuthorizedKeysFile \(place)/authorized_keys
                PidFile none
                StrictModes no
                UsePAM no
                PermitRootLogin yes
                SetEnv PATH=\(place)/bin:/usr/bin:/bin

                """.utf8), to: "sshd_config")
        let known = Array("[127.0.0.1]:\(port) ".utf8) + (try scratch.read("host.pub"))
        try scratch.write(known, to: "known_hosts")
        try scratch.write(
            Array(
                """
                Host far
                    HostName 127.0.0.1
                    Port \(port)
                    IdentityFile \(place)/id
                    UserKnownHostsFile \(place)/known_hosts
                    ControlMaster auto
                    ControlPath \(place)/%C
                    ControlPersist 2

                """.utf8), to: "ssh_config")
        try scratch.write(
            Array("#!/bin/sh\nexec /usr/bin/ssh -F '\(place)/ssh_config' \"$@\"\n".utf8), to: "bin/ssh")
        chmod("\(place)/bin/ssh", 0o700)
        process = try Child([
            "sh", "-c", "exec /usr/sbin/sshd -D -e -f \"$1\" 2>\"$2\"", "sh",
            "\(place)/sshd_config", "\(place)/log",
        ])
        let user = String(cString: getpwuid(geteuid()).pointee.pw_name)
        url = try StoreURL("ssh://\(user)@far\(place)/store")
        setenv("PATH", "\(place)/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", 1)
        for _ in 0..<200 {
            let log = String(decoding: (try? scratch.read("log")) ?? [], as: UTF8.self)
            if log.contains("listening on") { return }
            usleep(20_000)
        }
        throw Failure(.unavailable, "sshd does not start", at: place)
    }
}
