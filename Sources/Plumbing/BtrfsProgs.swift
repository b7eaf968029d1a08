/// The version of the command btrfs(8) in PATH, as it states it: such as `6.2`.
///
/// - Throws: as `Child`; `unavailable` where the command fails or states none.
public func btrfsProgsVersion() throws -> String {
    var child = try Child(["btrfs", "--version"])
    let said = String(decoding: try child.output.readAll(limit: 4096), as: UTF8.self)
    let ending = try child.wait()
    // btrfs-progs v6.2; newer ones have lines behind that, about what they were built with.
    guard ending.isSuccess, let words = said.split(separator: "\n").first?.split(separator: " "),
        let version = words.last?.drop(while: { $0 == "v" }), version.first?.isNumber == true
    else {
        throw Failure(.unavailable, "btrfs --version \(ending), and states no version", at: "btrfs")
    }
    return String(version)
}
