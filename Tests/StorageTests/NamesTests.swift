import Glibc
import Plumbing
import StoreFormat
import Testing

@testable import Storage

@Suite struct Names {
    @Test(arguments: [
        "", ".", "..", "../x", ".hidden", "a/b", "Pod", "pod example", "pöd", "a:b", "a\0b", "a\n",
        String(repeating: "a", count: 254),
    ])
    func noDomain(_ name: String) {
        #expect(status { _ = try Domain(name) } == .usage)
    }

    @Test(arguments: ["a", "pod.example.org", "-", "_0-9.z", String(repeating: "a", count: 253)])
    func domain(_ name: String) throws {
        #expect(try Domain(name).description == name)
    }

    @Test(arguments: [
        "", "00", String(repeating: "0", count: 63), String(repeating: "0", count: 65),
        String(repeating: "A", count: 64), "../" + String(repeating: "0", count: 61),
    ])
    func noAddress(_ hex: String) {
        #expect(status { _ = try Address(hex) } == .usage)
    }

    @Test(arguments: [
        ("file:/srv/backup", "/srv/backup"), ("file:///srv/b", "/srv/b"), ("file:/a b/50%/:x", "/a b/50%/:x"),
        ("file:/", "/"), ("file:////srv//b", "//srv//b"),
    ])
    func file(_ text: String, _ path: String) throws {
        let url = try StoreURL(text)
        #expect((url.driver as? DirectoryDriver)?.path == path)
        #expect(try StoreURL(url.description) == url)
    }

    @Test(arguments: [("label:escapepod", "escapepod"), ("label:MY DRIVE", "MY DRIVE")])
    func label(_ text: String, _ label: String) throws {
        let url = try StoreURL(text)
        #expect((url.driver as? DriveDriver)?.label == label)
        #expect(try StoreURL(url.description) == url)
    }

    @Test(arguments: [
        ("dunesea+https://a-b.example.org", "a-b.example.org", true),
        ("dunesea+http://127.0.0.1:8443", "127.0.0.1:8443", false),
        ("dunesea+https://[2001:db8::1]:65535", "[2001:db8::1]:65535", true),
    ])
    func dunesea(_ text: String, _ authority: String, _ isEncrypted: Bool) throws {
        let url = try StoreURL(text)
        let driver = try #require(url.driver as? DuneSeaDriver)
        #expect(driver.authority.description == authority && driver.isEncrypted == isEncrypted)
        #expect(try StoreURL(url.description) == url)
    }

    @Test(arguments: [
        ("localhost", true), ("localhost:1", true), ("127.0.0.1:80", true), ("127.255.0.9", true),
        ("[::1]", true), ("[::1]:80", true), ("localhost.example.org", false),
        ("127.0.0.1.example.org", false),
        ("127.0.0", false), ("127.0.0.256", false), ("128.0.0.1", false), ("[::2]", false),
        ("0.0.0.0", false), ("0127.0.0.1", false), ("0x7f.0.0.1", false), ("127.0.0.01", false),
    ])
    func loopback(_ authority: String, _ isLoopback: Bool) throws {
        #expect(try Authority(authority[...]).isLoopback == isLoopback)
    }

    @Test(arguments: [
        "", "/srv/backup", "file:", "file:srv", "file://host/srv", "file://", "label:", "s3://bucket",
        "FILE:/x", ":", "dunesea:", "dunesea+https:host", "dunesea+https://", "dunesea+https://:80",
        "dunesea+https://host:", "dunesea+https://host:0", "dunesea+https://host:65536",
        "dunesea+https://host:+1", "dunesea+https://host/", "dunesea+https://user@host",
        "dunesea+https://host?x", "dunesea+https://[::1", "dunesea+https://[host]", "dunesea+https://[::1]x",
        "dunesea+https://host\n", "dunesea+https://a b",
    ])
    func noURL(_ text: String) {
        do {
            _ = try StoreURL(text)
            Issue.record("taken: \(text)")
        } catch {
            let failure = error as? Failure
            #expect(failure?.status == .usage)
            #expect(failure?.hint?.contains("label:NAME") == true)
        }
    }
}

@Suite struct MountInfo {
    @Test func aLine() throws {
        let mount = try #require(
            Mount(
                parsing:
                    #"36 35 259:300 / /mnt/a\040b\134c rw,noatime master:1 - ext4 /dev/my\040disk rw,errors=continue"#
            ))
        #expect(mount.id == 36)
        var status = stat()
        #expect(stat("/dev/null", &status) == 0)
        #expect(
            Mount(parsing: "1 0 1:3 / / rw - x y rw")?.device == status.st_rdev,
            "the number of /dev/null is 1:3")
        #expect(mount.root == "/")
        #expect(mount.point == #"/mnt/a b\c"#)
        #expect(mount.type == "ext4")
        #expect(!mount.isReadOnly)
        #expect(Mount(parsing: "1 0 1:3 /sub /x ro - btrfs /dev/sda rw")?.isReadOnly == true)
        #expect(Mount(parsing: "1 0 1:3 /sub /x rw - btrfs /dev/sda ro,x")?.isReadOnly == true)
    }

    @Test(arguments: [
        "", "1", "- - - -", "1 2 3 4 5 6 - x", "x 0 1:3 / / rw - x y rw", "1 0 13 / / rw - x y rw",
    ])
    func noLine(_ line: String) {
        #expect(Mount(parsing: line) == nil)
    }

    @Test func thisMachineHasARoot() throws {
        #expect(try Mount.all().contains { $0.point == "/" })
    }
}
