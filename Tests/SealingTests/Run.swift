import Envelope
import Glibc
import Plumbing
import Sealing

/// The key whose 32 bytes count from 0 to 31.
let countingKey = "EPOD-KEY-1QQQSYQCYQ5RQWZQFPG9SCRGWPUGPZYSNZS23V9CCRYDPK8QARC0SYZF8XJ"

/// Bytes that no chunk boundary repeats.
func sample(_ count: Int) -> [UInt8] {
    // They repeat after 64 KiB, and one by one takes seconds under AddressSanitizer.
    var bytes = (0..<min(count, 1 << 16)).map { UInt8(truncatingIfNeeded: $0 * 7 + $0 / 256) }
    while bytes.count < count { bytes += bytes.prefix(count - bytes.count) }
    return bytes
}

/// Compares without the difference that `#expect` would make of two long arrays that differ, which takes hours.
func same(_ one: [UInt8], _ other: [UInt8]) -> Bool {
    one.count == other.count && memcmp(one, other, one.count) == 0
}

func key() throws -> Key { try Key(parsing: countingKey, at: "test") }

/// What came out, and how it ended.
struct Outcome {
    let bytes: [UInt8]
    let failure: Failure?
}

/// Runs a stage from real descriptor to real descriptor.
func run(_ input: [UInt8], _ stage: (borrowing Descriptor, borrowing Descriptor) throws -> Void) throws
    -> Outcome
{
    let source = try scratch(holding: input)
    let sink = try scratch(holding: [])
    var failure: Failure?
    do { try stage(source, sink) } catch let error as Failure { failure = error }
    lseek(sink.number, 0, SEEK_SET)
    return Outcome(bytes: try sink.readAll(limit: 1 << 30), failure: failure)
}

func sealed(_ plaintext: [UInt8], _ kind: Envelope.Kind = .blob, compressing level: Int? = nil) throws
    -> [UInt8]
{
    let outcome = try run(plaintext) {
        try seal(
            kind, under: key(), compressing: level, from: $0, to: $1, inspect: { _ in }, confirm: { _ in })
    }
    if let failure = outcome.failure { throw failure }
    return outcome.bytes
}

func unsealed(_ stream: [UInt8], _ kind: Envelope.Kind = .blob, under other: Key? = nil) throws -> Outcome {
    try run(stream) { try unseal(kind, under: other ?? key(), from: $0, to: $1, progress: { _ in }) }
}

private func scratch(holding bytes: [UInt8]) throws -> Descriptor {
    var name = Array("/tmp/escapepod-test.XXXXXX".utf8CString)
    let file = Descriptor(owning: mkstemp(&name), name: "scratch")
    unlink(name)
    try file.write(bytes)
    lseek(file.number, 0, SEEK_SET)
    return file
}
