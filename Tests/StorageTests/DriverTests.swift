import Envelope
import Plumbing
import Storage
import StoreFormat
import Testing

/// What the rest of the house knows of a kind of store comes from the registry: here one of a single toy.
@Suite struct Registry {
    private let toys = Drivers([ToyDriver.self])

    @Test func aURLIsItsDrivers() throws {
        let url = try StoreURL("toy:a b", among: toys)
        #expect(url.description == "toy:a b")
        #expect(try url.folderName.hasPrefix("toy-a-b-"))
        #expect(try url.driver.isApart(from: "/"))
        for text in ["toy:", "file:/srv", "toys:x"] {
            do {
                _ = try StoreURL(text, among: toys)
                Issue.record("taken: \(text)")
            } catch let failure as Failure {
                #expect(failure.status == .usage)
                #expect(failure.hint == "a store is toy:NAME")
            }
        }
    }

    @Test func formsAndOptionsAreTheDrivers() {
        #expect(
            Drivers.standard.forms
                == "file:/path, label:NAME, dunesea+https://HOST:PORT or ssh://USER@HOST/path")
        #expect(Drivers.standard.options.map(\.name) == ["token-file", "ca", "pin", "insecure"])
        #expect(toys.options.map(\.name) == ["read-only"])
        // One that two drivers have is one option.
        #expect(Drivers([ToyDriver.self, ToyDriver.self]).options.count == 1)
        #expect(Drivers.standard.options[2].check("key") != nil)
        #expect(Drivers.standard.options[2].check("sha256//key") == nil)
    }

    @Test func aDriverIsToldItsOptions() throws {
        let url = try StoreURL("toy:told", among: toys)
        let pod = try domain("pod")
        func storing(_ settings: Settings) -> Plumbing.ExitStatus {
            status {
                try withStore(at: url, for: .writing, told: settings) {
                    _ = try $0.storeBlob(of: pod, from: stream(sealed(.blob, length: 500)))
                }
            }
        }
        var settings = Settings()
        #expect(storing(settings) == .done)
        settings.options["read-only"] = ""
        #expect(storing(settings) == .denied)
    }

    @Test func aSecretIsAWord() throws {
        let scratch = try Scratch()
        let secret = DriverOption("word-file", help: "", .secret(variable: "EP_TEST_NOBODY_SETS_THIS"))
        var settings = Settings()
        #expect(status { _ = try settings.secret(secret, for: "x") } == .usage)
        settings.options["word-file"] = "\(scratch.path)/word"
        for (text, expected) in [
            (" a-word\n", Plumbing.ExitStatus.done), ("two words", .badData), ("", .badData),
        ] {
            try scratch.write(Array(text.utf8), to: "word")
            #expect(status { _ = try settings.secret(secret, for: "x") } == expected)
        }
        try scratch.write(Array("a-word\n".utf8), to: "word")
        #expect(try settings.secret(secret, for: "x") == "a-word")
    }

    @Test func aStoreWithoutAFolderSaysWhichHaveOne() throws {
        try withStore(at: StoreURL("toy:plain", among: toys), for: .reading) { store in
            do {
                _ = try store.file(named: "RECOVERY.txt")
                Issue.record("there is one")
            } catch let failure as Failure {
                #expect(failure.status == .notFound)
                #expect(failure.hint == "file:/path or label:NAME has one")
            }
        }
    }
}
