import JSON
import Plumbing
import SendStream

/// What flows into the seal: a btrfs send stream, which can tell whether it is whole, or anything else, which cannot.
struct Origin {
    private enum Nature {
        case undecided([UInt8])
        case btrfs(SendStream)
        case other
    }

    private let place: String
    private var nature = Nature.undecided([])
    private var count: UInt64 = 0

    /// How much has been seen, in bytes; compressed data count as what they stand for.
    var progress: UInt64 {
        if case .btrfs(let stream) = nature { return count &+ stream.spared }
        return count
    }

    /// - Parameter place: what messages call the input.
    init(at place: String) {
        self.place = place
    }

    /// Takes the next bytes; throws where a btrfs stream is broken.
    mutating func see(_ bytes: UnsafeRawBufferPointer) throws {
        count += UInt64(bytes.count)
        switch nature {
        case .other: break
        case .btrfs(var stream):
            nature = .other
            try stream.walk(bytes)
            nature = .btrfs(stream)
        case .undecided(let before):
            let start = before + bytes.prefix(64)
            switch SendStream.recognises(start) {
            case nil: nature = .undecided(start)
            case false?: nature = .other
            case true?:
                var stream = SendStream(at: place)
                try before.withUnsafeBytes { try stream.walk($0) }
                try stream.walk(bytes)
                nature = .btrfs(stream)
            }
        }
    }

    /// What the whole input was, as the record of `--report`; throws where a btrfs stream has no end.
    ///
    /// - Parameter compressed: to how many bytes; nil where it was not.
    func finish(compressed: UInt64?) throws -> JSON {
        let record: JSON =
            if case .btrfs(let stream) = nature { try stream.finish().record } else {
                ["stream": "other", "bytes": .integer(Int64(clamping: count)), "complete": true]
            }
        guard let compressed, case .object(let members) = record else { return record }
        return .object(members + [.init("compressed", .integer(Int64(clamping: compressed)))])
    }
}
