// swift-tools-version: 6.1
import PackageDescription

let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

func library(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: strict)
}

func tool(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(
        name: name,
        dependencies: ["Plumbing", "Tool"] + dependencies,
        swiftSettings: strict)
}

func tests(_ library: String, _ others: [Target.Dependency] = []) -> Target {
    .testTarget(
        name: "\(library)Tests",
        dependencies: Set([library, "Plumbing"]).sorted().map { .init(stringLiteral: $0) } + others,
        swiftSettings: strict)
}

// The rooms and who may know whom; `make check` holds the sources against it.
let package = Package(
    name: "escapepod",
    products: [
        "ep-config", "ep-snap", "ep-layout", "ep-seal", "ep-unseal", "ep-key", "ep-meta", "ep-plan",
        "ep-store",
        "ep-fetch",
    ].map { .executable(name: $0, targets: [$0]) }
        // What the server, a package of its own in dunesea/, shares with the tools.
        + [
            "CLinux", "Plumbing", "JSON", "OpenSSL", "Envelope", "StoreFormat", "DurableFiles",
            "DuneSeaProtocol",
            "Tool",
        ].map { .library(name: $0, targets: [$0]) },
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2")
    ],
    targets: [
        .systemLibrary(name: "CLinux"),
        .systemLibrary(name: "CChecksum"),
        // Without pkgConfig, like libcurl: what it needs is loaded when it is needed.
        .systemLibrary(
            name: "CDecompression", providers: [.apt(["zlib1g-dev", "libzstd-dev", "liblzo2-dev"])]),
        .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        .systemLibrary(name: "COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        // Without pkgConfig: it is loaded when it is needed, not linked.
        .systemLibrary(name: "CCurl", providers: [.apt(["libcurl4-openssl-dev"])]),
        .systemLibrary(name: "CBlkid", pkgConfig: "blkid", providers: [.apt(["libblkid-dev"])]),
        .systemLibrary(
            name: "CBtrfsUtil", pkgConfig: "libbtrfsutil",
            providers: [.apt(["libbtrfsutil-dev"])]),

        // C, since only C is handed the arguments before main.
        .target(name: "CArguments"),

        library("Plumbing", ["CLinux"]),
        library("JSON", ["Plumbing"]),
        library("OpenSSL", ["Plumbing", "COpenSSL"]),
        library("Zstandard", ["Plumbing", "CZstd"]),
        library("Envelope", ["Plumbing"]),
        library("SendStream", ["Plumbing", "JSON", "CChecksum"]),
        library("Sealing", ["Plumbing", "OpenSSL", "Zstandard", "Envelope"]),
        library("Catalog", ["Plumbing", "JSON", "OpenSSL", "Envelope"]),
        library("StoreFormat", ["Plumbing", "JSON", "Envelope"]),
        library("DurableFiles", ["Plumbing", "CLinux"]),
        library("DuneSeaProtocol", ["Plumbing", "JSON", "StoreFormat"]),
        library(
            "Storage",
            [
                "Plumbing", "JSON", "OpenSSL", "Envelope", "StoreFormat", "DurableFiles", "DuneSeaProtocol",
                "CLinux", "CBlkid", "CCurl",
            ]),
        library("ConfigurationFile", ["Plumbing"]),
        library("Snapshots", ["Plumbing", "JSON", "CLinux", "CBtrfsUtil"]),
        library(
            "Receiving",
            ["Plumbing", "SendStream", "Snapshots", "CLinux", "CBtrfsUtil", "CDecompression"]),
        library("Layout", ["Plumbing", "JSON", "OpenSSL", "CLinux", "CBlkid", "CBtrfsUtil"]),
        library(
            "Tool",
            [
                "Plumbing", "Envelope", "CArguments", "CLinux",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]),
        library(
            "StoreArguments",
            [
                "Plumbing", "Storage", "StoreFormat", "Tool",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]),

        tool("ep-config", ["ConfigurationFile", "StoreArguments", "Storage", "StoreFormat"]),
        tool("ep-snap", ["Snapshots", "Receiving", "SendStream", "JSON"]),
        tool("ep-layout", ["Layout", "JSON"]),
        tool("ep-seal", ["Sealing", "Envelope", "SendStream", "JSON"]),
        tool("ep-unseal", ["Sealing", "Envelope"]),
        tool("ep-key", ["Sealing", "OpenSSL"]),
        tool("ep-meta", ["Catalog", "JSON", "Sealing", "StoreFormat"]),
        tool("ep-plan", ["Catalog", "JSON"]),
        tool("ep-store", ["StoreArguments", "Storage", "StoreFormat", "Envelope", "JSON"]),
        tool("ep-fetch", ["StoreArguments", "Storage", "StoreFormat", "JSON"]),

        tests("Sealing", ["Envelope", "OpenSSL", "Zstandard"]),
        tests("Plumbing"),
        tests("ConfigurationFile"),
        tests("SendStream", ["JSON"]),
        tests("Receiving", ["SendStream"]),
        tests("JSON"),
        tests("Catalog", ["JSON", "OpenSSL", "Envelope"]),
        tests("Storage", ["Envelope", "OpenSSL", "StoreFormat", "DurableFiles", "DuneSeaProtocol"]),
        tests("Snapshots", ["JSON", "CLinux"]),
        tests("Layout", ["JSON"]),
    ]
)
