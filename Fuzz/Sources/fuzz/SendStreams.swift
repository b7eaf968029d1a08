import Fuzzing
import Plumbing
import SendStream

/// As it is, and with every checksum made right, in one piece and in many.
func sendStream(_ input: [UInt8]) throws {
    for bytes in [input, withRightChecksums(input)] {
        let whole = try walked { try bytes.withUnsafeBytes($0) }
        let inPieces = try walked { try bytes.inPieces($0) }
        hold(whole == inPieces, "in one piece \(whole), in many \(inPieces)")
        hold(SendStream.recognises(bytes) != false || whole.hasPrefix("bad"), "not recognised, but walked")
    }
}

private func walked(_ feed: ((UnsafeRawBufferPointer) throws -> Void) throws -> Void) throws -> String {
    var stream = SendStream(at: "input")
    do {
        try feed { try stream.walk($0) }
        return "\(try stream.finish().record) \(stream.spared)"
    } catch let failure as Failure where failure.status == .badData {
        return "bad: \(failure)"
    }
}

private func withRightChecksums(_ bytes: [UInt8]) -> [UInt8] {
    var (right, start) = (Array(bytes.prefix(17)), 17)
    while start + 10 <= bytes.count {
        let length = (0..<4).reduce(0) { $0 | Int(bytes[start + $1]) << (8 * $1) }
        let end = start + 10 + length
        guard end <= bytes.count else { break }
        right += withRightChecksum(Array(bytes[start..<end]))
        start = end
    }
    return right + bytes.dropFirst(right.count)
}

/// One command, header and payload.
func withRightChecksum(_ command: [UInt8]) -> [UInt8] {
    var command = command
    command.replaceSubrange(6..<10, with: [0, 0, 0, 0])
    // CRC-32C, bit by bit.
    let crc = command.reduce(UInt32(0)) { crc, byte in
        (0..<8).reduce(crc ^ UInt32(byte)) { sum, _ in
            sum & 1 == 1 ? sum >> 1 ^ 0x82f6_3b78 : sum >> 1
        }
    }
    for index in 0..<4 { command[6 + index] = UInt8(truncatingIfNeeded: crc >> (8 * UInt32(index))) }
    return command
}
