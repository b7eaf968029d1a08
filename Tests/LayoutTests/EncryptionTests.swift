import Glibc
import JSON
import Plumbing
import Testing

@testable import Layout

/// Partitions that are encrypted; what opens them is tested in a machine of its own, Tests/boot/locked.bats.
@Suite struct EncryptionTests {
    private static let modern = """
        {"kind":"luks2","uuid":"15b9dd33-5b24-4fe4-8b63-d1fd27d6bd3a","label":"vault","cipher":"aes-xts-plain64","key-size":256,\
        "sector":4096,"offset":16777216,"derivation":"argon2id","hash":"sha256","flags":["allow-discards"],\
        "lost":["systemd-tpm2","1 more key slot"]}
        """
    private static let old = """
        {"kind":"luks1","uuid":"be44bbde-6d33-4b0c-9a8e-dd8d4d0d0a57","label":"","cipher":"aes-cbc-essiv:sha256",\
        "key-size":256,"sector":512,"offset":2097152,"derivation":"pbkdf2","hash":"sha512","flags":[],"lost":[]}
        """

    /// A machine whose btrfs is in the one and whose swap space in the other.
    private func machine(_ one: String = modern, _ other: String = old) throws -> Machine {
        let text = Pod.text()
            .replacing(
                #""content":{"kind":"btrfs""#, with: #""encryption":\#(one),"content":{"kind":"btrfs""#
            )
            .replacing(
                #""content":{"kind":"swap""#, with: #""encryption":\#(other),"content":{"kind":"swap""#)
        return try Pod.machine(text)
    }

    private func encryption(_ text: String) throws -> Encryption {
        try Encryption(Members(of: JSON(parsing: Array(text.utf8), at: "test"), at: "test"))
    }

    private func plan(on target: Target, isDrill: Bool = false) throws -> Plan {
        try Plan(
            machine(), identity: [], on: target, named: .init(serial: nil, size: nil), firmware: .uefi,
            isDrill: isDrill)
    }

    @Test func readsWhatItWrites() throws {
        let machine = try machine()
        #expect(try Pod.machine("\(machine.json)") == machine)
    }

    @Test(arguments: [
        (#""kind":"luks2""#, #""kind":"plain""#, "unknown"),
        (#""uuid":"15b9dd33-"#, #""uuid":"/../x-"#, "UUID"),
        (#""label":"vault""#, #""label":"a\nb""#, "control"),
        (#""cipher":"aes-xts-plain64""#, #""cipher":"--help""#, "algorithm"),
        (#""cipher":"aes-xts-plain64""#, #""cipher":"cipher_null-ecb""#, "encrypts nothing"),
        (#""cipher":"aes-xts-plain64""#, #""cipher":"a b""#, "algorithm"),
        (#""hash":"sha256""#, #""hash":"""#, "algorithm"),
        (#""derivation":"argon2id""#, #""derivation":"-x""#, "algorithm"),
        (#""key-size":256"#, #""key-size":4"#, "size"),
        (#""sector":4096"#, #""sector":8192"#, "size"),
        (#""offset":16777216"#, #""offset":512"#, "offset"),
        (#""offset":16777216"#, #""offset":1099511627776"#, "no room"),
        (#""flags":["allow-discards"]"#, #""flags":["--help"]"#, "flags"),
        (#""flags":["allow-discards"]"#, #""flags":["allow-discards","allow-discards"]"#, "flags"),
    ])
    func refuses(_ wrong: String, _ by: String, _ word: String) throws {
        #expect(Self.modern.contains(wrong))
        let failure = try #require(throws: Failure.self) {
            try machine(Self.modern.replacing(wrong, with: by))
        }
        #expect(failure.status == .badData)
        #expect(failure.what.contains(word), "\(failure.what)")
    }

    @Test func twoWithOneIdentity() throws {
        let failure = try #require(throws: Failure.self) {
            try machine(
                Self.modern,
                Self.old.replacing(
                    "be44bbde-6d33-4b0c-9a8e-dd8d4d0d0a57", with: "15b9dd33-5b24-4fe4-8b63-d1fd27d6bd3a"))
        }
        #expect(failure.what.contains("one UUID"))
    }

    @Test func thePlanSaysWhatIsLost() throws {
        let plan = try plan(on: Target(path: "/dev/vdb", size: 1 << 30, sector: 512))
        #expect(
            plan.changes == [
                "partition 2 is encrypted anew, and one new passphrase opens it; lost: systemd-tpm2, 1 more key slot",
                "partition 3 is encrypted anew, and one new passphrase opens it",
            ])
        #expect(plan.text.contains("LUKS2  btrfs  'root'  /, /home"))
        #expect(plan.text.contains("LUKS1  swap"))
    }

    @Test func whatIsInsideIsMadeInside() throws {
        let commands = try plan(on: Target(path: "/dev/vdb", size: 1 << 30, sector: 4096)).steps.map {
            shellWords($0.command)
        }
        let opened = "escapepod-15b9dd33-5b24-4fe4-8b63-d1fd27d6bd3a"
        let first = try #require(commands.firstIndex { $0.contains("luksFormat") })
        #expect(commands[first].hasSuffix("--pbkdf argon2id --sector-size 4096 --label=vault /dev/vdb2"))
        #expect(
            commands[(first + 1)...].prefix(3).elementsEqual([
                "cryptsetup luksUUID --batch-mode --uuid 15b9dd33-5b24-4fe4-8b63-d1fd27d6bd3a /dev/vdb2",
                "cryptsetup open --type luks --key-file=- --allow-discards --persistent /dev/vdb2 \(opened)",
                "mkfs.btrfs --quiet --force --uuid \(Pod.root) --csum crc32c --label root /dev/mapper/\(opened)",
            ]))
        // A disk with larger sectors takes no smaller ones.
        let small = try encryption(Self.modern.replacing(#""sector":4096"#, with: #""sector":512"#))
        for sector: Int64 in [512, 4096] {
            #expect(small.formatting("disk", sector: sector, isQuick: false).contains("\(sector)"))
        }
        // A copy gets its identity when the machine's own is no obstacle any more.
        let copy = try plan(on: Target(path: "/dev/vdb", size: 1 << 30, sector: 512), isDrill: true)
        #expect(!copy.steps.contains { $0.command.contains("luksUUID") })
        #expect(copy.steps.contains { $0.command.contains("--pbkdf-force-iterations") })
    }

    /// The header takes room that the file system does not have.
    @Test func theHeaderHasToFit() throws {
        let plain = try Pod.machine()
        let encrypted = try machine()
        func least(_ machine: Machine) -> Int64? {
            (300...700).map { Int64($0) << 20 }.first {
                (try? Fitting(machine.disk, size: $0, sector: 512)) != nil
            }
        }
        let (one, other) = (try #require(least(plain)), try #require(least(encrypted)))
        #expect(other - one == 16 << 20)
    }

    /// With real headers: what is made from a description is described by the same.
    @Test(arguments: [
        modern.replacing(#""systemd-tpm2","1 more key slot""#, with: "").replacing(
            #""allow-discards""#, with: ""),
        modern.replacing(#""systemd-tpm2","1 more key slot""#, with: "").replacing(
            #""allow-discards""#, with: ""
        )
        .replacing("argon2id", with: "pbkdf2").replacing("sha256", with: "sha512").replacing(
            #""vault""#, with: #""""#
        )
        .replacing("16777216", with: "8388608").replacing("4096,", with: "512,"),
        old,
    ])
    func aHeaderLikeTheOldOne(_ text: String) throws {
        let folder = try TemporaryFolder()
        let file = "\(folder.path)/disk"
        try Program.run(["truncate", "--size=64M", file])
        let wanted = try encryption(text)
        try Program.run(wanted.formatting(file, sector: 512, isQuick: true), input: Array("words".utf8))
        try Program.run(wanted.identifying(file))
        #expect(try found(file) == wanted)

        // A second key, which another one will not have.
        try AtomicFile.write(Array("words".utf8), to: "\(folder.path)/words", mode: 0o600, replacing: false)
        var more = ["--pbkdf-force-iterations", wanted.derivation == "pbkdf2" ? "1000" : "4"]
        if wanted.kind == .luks2 { more += ["--pbkdf", wanted.derivation] }
        if wanted.derivation != "pbkdf2" { more += ["--pbkdf-memory", "32"] }
        try Program.run(
            ["cryptsetup", "luksAddKey", "--batch-mode"] + more
                + ["--key-file", "\(folder.path)/words", file, "/etc/hostname"])
        #expect(try found(file).lost == ["1 more key slot"])
    }

    private func found(_ file: String) throws -> Encryption {
        let tags = try BlockDevice.probe(file, forTable: false)
        #expect(tags["TYPE"] == "crypto_LUKS")
        return try Encryption(of: file, tags)
    }

    private static let table = """
        # name source key options
        crypt UUID=15B9DD33-5b24-4fe4-8b63-d1fd27d6bd3a none luks,tpm2-device=auto
        space /dev/disk/by-uuid/be44bbde-6d33-4b0c-9a8e-dd8d4d0d0a57 /etc/space.key
        other UUID=00000000-0000-0000-0000-000000000000 /etc/other.key luks

        """

    /// A root that has come back, with that crypttab(5).
    private func withRoot<Result>(_ body: (Finish, borrowing Descriptor) throws -> Result) throws -> Result {
        let folder = try TemporaryFolder()
        try Program.run(["mkdir", "\(folder.path)/etc"])
        try AtomicFile.write(
            Array(Self.table.utf8), to: "\(folder.path)/etc/crypttab", mode: 0o644, replacing: false)
        let finish = try Finish(
            plan(on: Target(path: "/dev/vdb", size: 1 << 30, sector: 512)), from: "", mountedAt: "")
        return try body(finish, Descriptor.folder(at: folder.path))
    }

    @Test func whatOpenedItByItselfIsNamed() throws {
        let concerns = try withRoot { try $0.keys($1) }
        #expect(
            concerns.map { $0.split(separator: ":  ").last ?? "" } == [
                "systemd-cryptenroll --tpm2-device=auto /dev/disk/by-uuid/15b9dd33-5b24-4fe4-8b63-d1fd27d6bd3a",
                "cryptsetup luksAddKey /dev/disk/by-uuid/be44bbde-6d33-4b0c-9a8e-dd8d4d0d0a57 /etc/space.key",
            ])
    }

    @Test func anInitramfsIsToldWhatToOpen() throws {
        let files = try withRoot { try $0.openableTable($1) }
        #expect(files.map(\.name) == ["etc/crypttab"])
        let lines = Self.table.split(separator: "\n").map(String.init)
        #expect(
            files.first?.text == """
                \(lines[0])
                \(lines[1]),initramfs
                \(lines[2]) luks,initramfs
                \(lines[3])

                """)
    }

    @Test func tokensAreNamed() throws {
        let metadata = """
            {"keyslots":{"0":{"type":"luks2","key_size":64,"af":{"hash":"sha256"},"kdf":{"type":"argon2id"}},\
            "1":{"type":"luks2","key_size":64,"af":{"hash":"sha256"},"kdf":{"type":"pbkdf2"}},\
            "2":{"type":"luks2","key_size":64,"af":{"hash":"sha256"},"kdf":{"type":"argon2id"}}},\
            "tokens":{"0":{"type":"systemd-tpm2","keyslots":["1"]}},"segments":{"0":{"type":"crypt","offset":"16777216",\
            "size":"dynamic","iv_tweak":"0","encryption":"aes-xts-plain64","sector_size":512}},"digests":{},\
            "config":{"json_size":"12288","flags":["no-read-workqueue","unknown","allow-discards"]}}
            """
        func read(_ text: String) throws -> Encryption {
            try Encryption(
                luks2: JSON(parsing: Array(text.utf8), at: "test"), uuid: "", label: "", at: "test")
        }
        let found = try read(metadata)
        #expect(found.lost == ["systemd-tpm2", "1 more key slot"])
        #expect(found.flags == ["allow-discards", "no-read-workqueue"])
        #expect(found.derivation == "pbkdf2" && found.keySize == 512)
        for (old, new) in [
            (#""iv_tweak":"0""#, #""iv_tweak":"8""#), (#""size":"dynamic""#, #""size":"512""#),
            (#""sector_size":512"#, #""sector_size":512,"integrity":{"type":"hmac"}"#),
            (#""type":"crypt""#, #""type":"linear""#), (#""0":{"type":"luks2""#, #""0":{"type":"reencrypt""#),
        ] {
            #expect(metadata.contains(old))
            let failure = try #require(throws: Failure.self) { try read(metadata.replacing(old, with: new)) }
            #expect(failure.status == .badData && failure.what.contains("integrity"), "\(failure.what)")
        }
    }
}
