public import ArgumentParser
import Plumbing
import StoreFormat

/// A file as a command line gives it, that a store is to have in its top folder for whoever finds it.
public struct CompanionFile: ExpressibleByArgument {
    private let path: String

    public init(argument: String) { path = argument }

    /// What it is called in the store: the last part of its path.
    public var name: String { path.split(separator: "/").last.map(String.init) ?? path }

    /// - Throws: as `Descriptor.file(at:)`; `badData` where it is longer than `StoreLimits.file`.
    public func read() throws -> [UInt8] {
        try Descriptor.file(at: path).readAll(limit: StoreLimits.file)
    }
}
