public import JSON

/// What a slot holds.
public enum Holding: Sendable {
    case snapshot(Snapshot)
    case stub(Stub)

    public var record: JSON {
        switch self {
        case .snapshot(let snapshot): snapshot.record
        case .stub(let stub): stub.record
        }
    }
}
