public import Plumbing

/// Reads an object's members by name and type; every failure is `badData` and names the member.
public struct Members {
    private let object: JSON
    private let place: String
    private let path: String

    /// - Parameter place: what messages call the document.
    public init(of value: JSON, at place: String) throws {
        try self.init(value, place: place, path: "")
    }

    private init(_ value: JSON, place: String, path: String) throws {
        guard case .object = value else {
            throw Failure(
                .badData, path.isEmpty ? "not a JSON object" : "member \(path) is not an object", at: place)
        }
        self.object = value
        self.place = place
        self.path = path
    }

    public func string(_ name: String) throws -> String {
        guard case .string(let value) = try member(name) else { throw failure(name, "is not a string") }
        return value
    }

    public func integer(_ name: String) throws -> Int64 {
        guard case .integer(let value) = try member(name) else {
            throw failure(name, "is not a 64-bit integer")
        }
        return value
    }

    public func bool(_ name: String) throws -> Bool {
        guard case .bool(let value) = try member(name) else {
            throw failure(name, "is neither true nor false")
        }
        return value
    }

    public func object(_ name: String) throws -> Members {
        try Members(try member(name), place: place, path: full(name))
    }

    public func array(_ name: String) throws -> [JSON] {
        guard case .array(let elements) = try member(name) else { throw failure(name, "is not an array") }
        return elements
    }

    /// An array of objects.
    public func objects(_ name: String) throws -> [Members] {
        try array(name).enumerated().map {
            try Members($0.element, place: place, path: full("\(name)[\($0.offset)]"))
        }
    }

    /// The string, or nil for null; the member must be there.
    public func stringOrNull(_ name: String) throws -> String? {
        try member(name) == .null ? nil : try string(name)
    }

    /// The object, or nil for null; the member must be there.
    public func objectOrNull(_ name: String) throws -> Members? {
        try member(name) == .null ? nil : try object(name)
    }

    /// The members of other names than these, in their order.
    public func others(than known: [String]) -> [JSON.Member] {
        guard case .object(let members) = object else { return [] }
        return members.filter { member in !known.contains { $0.utf8.elementsEqual(member.name.utf8) } }
    }

    /// Whether the member is there, be it null.
    public func contains(_ name: String) -> Bool { object[name] != nil }

    /// The failure that says what is wrong with a member.
    public func failure(_ name: String, _ what: String) -> Failure {
        Failure(.badData, "member \(full(name)) \(what)", at: place)
    }

    private func member(_ name: String) throws -> JSON {
        guard let value = object[name] else { throw failure(name, "is missing") }
        return value
    }

    private func full(_ name: String) -> String { path.isEmpty ? name : "\(path).\(name)" }
}
