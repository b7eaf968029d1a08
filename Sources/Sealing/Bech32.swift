import Plumbing

/// Bech32 (BIP 173): text for bytes that a person can type, with a checksum that finds up to four wrong letters.
enum Bech32 {
    private static let alphabet = Array("qpzry9x8gf2tvdw0s3jn54khce6mua7l".utf8)
    private static let checksumLength = 6

    /// The upper-case text of `bytes` under `prefix`, which is lower case.
    static func encode(_ bytes: UnsafeRawBufferPointer, prefix: String) -> String {
        let data = regroup(bytes, from: 8, to: 5, padded: true) ?? []
        let rest = polymod(expanded(prefix) + data + [UInt8](repeating: 0, count: checksumLength)) ^ 1
        let checksum = (0..<checksumLength).map { UInt8(rest >> (5 * (checksumLength - 1 - $0)) & 31) }
        let letters = (data + checksum).map { alphabet[Int($0)] }
        return (prefix + "1" + String(decoding: letters, as: UTF8.self)).uppercased()
    }

    /// The bytes of a text in upper or lower case; nil where a letter is wrong, missing or too many.
    static func decode(_ text: String, prefix: String) -> [UInt8]? {
        let lower = text.lowercased()
        guard text == lower || text == text.uppercased(), lower.hasPrefix(prefix + "1") else { return nil }
        var values: [UInt8] = []
        for letter in lower.utf8.dropFirst(prefix.utf8.count + 1) {
            guard let value = alphabet.firstIndex(of: letter) else { return nil }
            values.append(UInt8(value))
        }
        guard values.count >= checksumLength, polymod(expanded(prefix) + values) == 1 else { return nil }
        return values.dropLast(checksumLength).withUnsafeBytes { regroup($0, from: 5, to: 8, padded: false) }
    }

    private static func expanded(_ prefix: String) -> [UInt8] {
        prefix.utf8.map { $0 >> 5 } + [0] + prefix.utf8.map { $0 & 31 }
    }

    private static func polymod(_ values: [UInt8]) -> UInt32 {
        let generators: [UInt32] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3]
        return values.reduce(UInt32(1)) { sum, value in
            let top = sum >> 25
            let shifted = (sum & 0x1ff_ffff) << 5 ^ UInt32(value)
            return generators.enumerated().reduce(shifted) {
                top >> $1.offset & 1 == 1 ? $0 ^ $1.element : $0
            }
        }
    }

    /// Regroups bits from groups of `from` to groups of `to`; nil where unpadded groups leave more than zeros.
    private static func regroup(
        _ values: UnsafeRawBufferPointer, from: UInt32, to: UInt32, padded: Bool
    ) -> [UInt8]? {
        var (bits, count): (UInt32, UInt32) = (0, 0)
        var groups: [UInt8] = []
        for value in values {
            bits = (bits << from | UInt32(value)) & 0xfff
            count += from
            while count >= to {
                count -= to
                groups.append(UInt8(bits >> count & (1 << to - 1)))
            }
        }
        let left = bits & (1 << count - 1)
        if padded {
            if count > 0 { groups.append(UInt8(left << (to - count))) }
        } else if count >= from || left != 0 {
            return nil
        }
        return groups
    }
}
