import Envelope
public import Plumbing

/// Opens a series of sealed metadata documents, one at a time, as lines of a history, `escapepod-metadata(5)`:
///
/// ```
/// ADDRESS DOCUMENT
/// ADDRESS damaged       or unreadable
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
    let place = input.name
    func read(_ count: Int, behind front: [UInt8] = []) throws -> [UInt8] {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count - front.count, alignment: 16)
        defer { buffer.deallocate() }
        return front + buffer.prefix(try input.readFully(into: buffer))
    }
    var (front, count, missing) = (front, UInt64(0), 0)
    while true {
        let head = try Series.head(parsing: read(Series.headLength, behind: front), at: place)
        front = []
        switch head {
        case .document(let address, let length):
            let sealed = try read(length)
            guard sealed.count == length else { throw Failure(.badData, "the series is cut", at: place) }
            do {
                let document = try unseal(
                    .metadata, under: key, sealed, at: "the metadata of blob \(address.hex)")
                try output.write(Array("\(address.hex) ".utf8) + line(document, of: address))
            } catch let failure as Failure where failure.status == .badData {
                complain(failure)
                missing += 1
                try output.write(Array("\(address.hex) damaged\n".utf8))
            }
        case .missing(let address, let status):
            missing += 1
            let word = status == .badData ? "damaged" : "unreadable"
            try output.write(Array("\(address.hex) \(word)\n".utf8))
        case .end(let said):
            guard said == count else {
                throw Failure(.badData, "the series says \(said) documents, and has \(count)", at: place)
            }
            guard try read(1).isEmpty else {
                throw Failure(.badData, "something follows the end of the series", at: place)
            }
            try output.write(Array("end \(count)\n".utf8))
            return missing
        }
        count += 1
    }
}

/// The document with its newline, known to be a line of JSON as far as the series' own lines go.
private func line(_ document: [UInt8], of address: [UInt8]) throws -> [UInt8] {
    let newline = UInt8(ascii: "\n")
    let text = document.last == newline ? document.dropLast() : document[...]
    guard text.first == UInt8(ascii: "{"), !text.contains(newline) else {
        throw Failure(.badData, "no metadata document", at: "the metadata of blob \(address.hex)")
    }
    return text + [newline]
}
