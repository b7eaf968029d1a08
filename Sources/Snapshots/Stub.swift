import CBtrfsUtil
import Glibc
public import JSON
import Plumbing

/// What stands in a slot where the volume was replaced by a snapshot of itself: an empty folder that the kernel puts in
/// place of the subvolume, which stayed in the volume that it was.
public struct Stub: Sendable {
    public let slot: Slot
    let path: String
    /// Snapshots in a slot of that name, in a folder of that name, elsewhere on the file system.
    let elsewhere: [(path: [UInt8], uuid: String, receivedUUID: String?)]

    public var record: JSON {
        [
            "slot": .string(slot.rawValue), "path": .string(path), "stub": true,
            "elsewhere": .array(
                elsewhere.map {
                    [
                        "path": .string(printable($0.path)), "uuid": .string($0.uuid),
                        "receivedUuid": $0.receivedUUID.map { .string($0) } ?? .null,
                    ]
                }),
        ]
    }
}

// MARK: - Finding and removing them

extension Slots {
    func clearStubs(in directory: borrowing Descriptor) throws {
        for name in Slot.allCases.map(\.rawValue) + [Slots.staging] {
            guard case .stub = try entry(name, in: directory) else { continue }
            guard unlinkat(directory.number, name, AT_REMOVEDIR) == 0 else {
                throw Failure.system("cannot remove the stub", at: directory.path(of: name))
            }
        }
    }

    /// The snapshots that lie in slots of this store in other subvolumes; none where we may not look.
    func remnants() -> [(slot: Slot, path: [UInt8], uuid: String, receivedUUID: String?)] {
        var remnants: [(slot: Slot, path: [UInt8], uuid: String, receivedUUID: String?)] = []
        let slots = Slot.allCases.map { ($0, Array("/\(Slots.home)/\(name)/\($0.rawValue)".utf8)) }
        try? volume.subvolumes(below: Subvolume.topLevel) { path, info in
            // One of the top level itself has no slash in front.
            let full = [UInt8(ascii: "/")] + path
            guard let (slot, _) = slots.first(where: { full.suffix($1.count).elementsEqual($1) }),
                let uuid = uuidOrNil(info.uuid)
            else { return }
            remnants.append((slot, path, uuid, uuidOrNil(info.received_uuid)))
        }
        return remnants
    }
}
