// swift-tools-version: 6.1
import PackageDescription

let sanitizers = ["-sanitize=fuzzer,address"]

// Optimised, with the checks of a debug build: foreign bytes are to meet both.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .unsafeFlags(sanitizers + ["-enable-testing", "-assert-config", "Debug"]),
]

func library(_ name: String, _ dependencies: [Target.Dependency] = [], without: [String] = []) -> Target {
    .target(name: name, dependencies: dependencies, exclude: without, swiftSettings: strict)
}

func fuzzer(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(
        name: name, dependencies: ["Fuzzing", "Plumbing", "Envelope", "OpenSSL"] + dependencies,
        swiftSettings: strict, linkerSettings: [.unsafeFlags(sanitizers + ["-use-ld=lld"])])
}

// A package of its own: every room is built with the sanitizers in it, and only there, so the rooms are symbolic links.
let package = Package(
    name: "fuzz",
    dependencies: [
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: []),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.35.2"),
    ],
    targets: [
        .systemLibrary(name: "CLinux"),
        .systemLibrary(name: "CChecksum"),
        .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        .systemLibrary(name: "COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CDecompression"),
        .systemLibrary(name: "CCurl", providers: [.apt(["libcurl4-openssl-dev"])]),
        .systemLibrary(name: "CBlkid", pkgConfig: "blkid", providers: [.apt(["libblkid-dev"])]),
        .systemLibrary(
            name: "CBtrfsUtil", pkgConfig: "libbtrfsutil", providers: [.apt(["libbtrfsutil-dev"])]),
        .systemLibrary(name: "CFuzzer"),

        library("Plumbing", ["CLinux"]),
        library("JSON", ["Plumbing"]),
        library("OpenSSL", ["Plumbing", "COpenSSL"]),
        library("Envelope", ["Plumbing"]),
        library("SendStream", ["Plumbing", "JSON", "CChecksum"]),
        library("Zstandard", ["Plumbing", "CZstd"]),
        library("Sealing", ["Plumbing", "OpenSSL", "Zstandard", "Envelope"]),
        library("Catalog", ["Plumbing", "JSON", "OpenSSL", "Envelope"]),
        library("StoreFormat", ["Plumbing", "JSON", "Envelope"]),
        library("DurableFiles", ["Plumbing", "CLinux"]),
        library("DuneSeaProtocol", ["Plumbing", "JSON", "StoreFormat"]),
        library(
            "Storage",
            [
                "Plumbing", "JSON", "OpenSSL", "Envelope", "StoreFormat", "DurableFiles", "DuneSeaProtocol",
                "CLinux",
                "CBlkid", "CCurl",
            ]),
        library("Snapshots", ["Plumbing", "JSON", "CLinux", "CBtrfsUtil"]),
        library(
            "Receiving",
            ["Plumbing", "SendStream", "Snapshots", "CLinux", "CBtrfsUtil", "CDecompression"]),
        library("Layout", ["Plumbing", "JSON", "OpenSSL", "CLinux", "CBlkid", "CBtrfsUtil"]),
        library(
            "DuneSea",
            [
                "CLinux", "Plumbing", "JSON", "OpenSSL", "Envelope", "StoreFormat", "DurableFiles",
                "DuneSeaProtocol",
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOHTTPTypes", package: "swift-nio-extras"),
                .product(name: "NIOHTTPTypesHTTP1", package: "swift-nio-extras"),
            ],
            // With it come TLS and minutes of building; nothing in it reads what a client sends.
            without: ["Server.swift", "Session.swift"]),

        library("Fuzzing", ["CFuzzer", "Plumbing"]),
        fuzzer(
            "fuzz",
            [
                "CLinux", "JSON", "SendStream", "Sealing", "Zstandard", "Catalog", "StoreFormat",
                "DurableFiles",
                "Storage",
                "Receiving", "Snapshots", "Layout",
            ]),
        fuzzer(
            "fuzz-server",
            [
                "DuneSea", "StoreFormat", "DurableFiles",
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOEmbedded", package: "swift-nio"),
            ]),
    ]
)
