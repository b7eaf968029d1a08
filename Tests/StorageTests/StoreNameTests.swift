import Testing

@testable import Storage

@Suite struct StoreNames {
    private func name(_ url: String) throws -> String { try StoreURL(url).folderName }

    @Test func spellingsOfOneStore() throws {
        for same in [
            ["file:/srv/x", "file:///srv/x", "file:///srv//x/", "file:/srv/./x"], ["label:Usb", "label:USB"],
            ["dunesea+https://Host", "dunesea+https://host:443"],
            ["dunesea+http://[::1]:80", "dunesea+http://[::1]"],
        ] {
            #expect(try Set(same.map(name)).count == 1)
        }
    }

    @Test func storesApart() throws {
        let long = "file:/" + String(repeating: "long/", count: 30)
        let urls = [
            "file:/srv/x", "file:/srv-x", "file:/srv/X", "file:/srv/../x", "label:srv-x", "label:srv", long,
            long + "2",
            "file:/", "file:/..", "file:/.x", "file:/\u{e4}", "file:/a\u{308}", "dunesea+https://host",
            "dunesea+https://host:80", "dunesea+http://host",
        ]
        let names = try urls.map(name)
        #expect(Set(names).count == urls.count)
        for name in names {
            #expect((18...64).contains(name.utf8.count) && name.first != ".")
            #expect(
                name.utf8.allSatisfy {
                    switch Unicode.Scalar($0) {
                    case "a"..."z", "A"..."Z", "0"..."9", ".", "_", "-": true
                    default: false
                    }
                })
        }
        #expect(try name("label:Usb").hasPrefix("label-usb-"))
    }
}
