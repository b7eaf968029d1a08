import Testing

@testable import Snapshots

@Suite struct Releases {
    @Test func whatTheyTake() {
        for (release, takes) in [
            ("5.18.0", true), ("5.17.9-arch1", false), ("6.1.0-28-amd64", true), ("4.19", false),
            ("10.0", true),
            ("", false), ("next", false),
        ] {
            #expect(KernelRelease(release).takesCompressedData == takes, "\(release)")
        }
    }
}
