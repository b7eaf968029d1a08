import Envelope
public import Plumbing

/// Opens a series of sealed metadata documents, one at a time, as lines of a history, `escapepod-metadata(5)`:
///
/// ```
/// ADDRESS DOCUMENT
/// ADDRESS damaged       or unreadable
/// ADDRESS pruning RECORD   or damaged
/// end COUNT
/// ```
///
/// One that does not open does not end the series, and gets its line.
///
/// - Parameters:
///   - front: the first bytes, where they have been read already; at most the head of an item.
///   - complain: hears why a document does not open.
/// - Returns: how many did not open, or were not there to be opened.
/// - Throws: `badData` for what is no series, one that is cut, or that has bytes behind its end.
public func unsealSeries(
    under key: Key, from input: borrowing Descriptor, behind front: [UInt8], to output: borrowing Descriptor,
    complain: (Failure) -> Void
) throws -> Int {
    input.widenPipe()
    output.widenPipe()
    var reader = Series.Reader(at: input.name)
    var (count, missing) = (0, 0)
    func open(_ sealed: [UInt8], _ kind: Envelope.Kind, at place: String, behind front: String) throws {
        do {
            let text = try line(unseal(kind, under: key, sealed, at: place), at: place)
            try output.write(Array(front.utf8) + text)
        } catch let failure as Failure where failure.status == .badData {
            complain(failure)
            missing += 1
            try output.write(Array("\(front)damaged\n".utf8))
        }
    }
    func take(_ head: Series.Head, _ sealed: [UInt8]) throws {
        count += 1
        switch head {
        case .document(let address, _):
            let place = "the metadata of blob \(address.hex)"
            try open(sealed, .metadata, at: place, behind: "\(address.hex) ")
        case .pruning(let address, _):
            let place = "the pruning \(address.hex)"
            try open(sealed, .pruning, at: place, behind: "\(address.hex) pruning ")
        case .missing(let address, let status):
            missing += 1
            let word = status == .badData ? "damaged" : "unreadable"
            try output.write(Array("\(address.hex) \(word)\n".utf8))
        case .end: break
        }
    }
    try front.withUnsafeBytes { try reader.add($0, take) }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 16)
    defer { buffer.deallocate() }
    while case let fresh = try input.read(into: buffer), fresh > 0 {
        try reader.add(.init(rebasing: buffer[..<fresh]), take)
    }
    try reader.finish()
    try output.write(Array("end \(count)\n".utf8))
    return missing
}

/// The document with its newline, known to be a line of JSON as far as the series' own lines go.
private func line(_ document: [UInt8], at place: String) throws -> [UInt8] {
    let newline = UInt8(ascii: "\n")
    let text = document.last == newline ? document.dropLast() : document[...]
    guard text.first == UInt8(ascii: "{"), !text.contains(newline) else {
        throw Failure(.badData, "not a JSON object on one line", at: place)
    }
    return text + [newline]
}
