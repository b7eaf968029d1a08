import CLinux
import Glibc
import Plumbing

/// Extended attributes, and so ACLs.
extension TreeComparison {
    func attributes(_ name: UnsafePointer<CChar>, _ one: Int32, _ other: Int32) throws {
        // No call takes a folder's descriptor and a name that may be a symbolic link.
        func path(_ folder: Int32) -> [CChar] {
            [CChar]("/proc/self/fd/\(folder)/".utf8CString.dropLast())
                + UnsafeBufferPointer(start: name, count: strlen(name) + 1)
        }
        let (from, to) = (path(one), path(other))
        func list(_ path: [CChar]) throws -> [CChar] {
            let count = linux_llistxattr(path, self.one, TreeComparison.step)
            guard count >= 0 || errno == ENOTSUP else { throw failure("cannot list the extended attributes") }
            return Array(
                UnsafeRawBufferPointer(start: self.one, count: max(count, 0)).bindMemory(to: CChar.self))
        }
        func value(
            of attribute: UnsafePointer<CChar>, _ path: [CChar], into buffer: UnsafeMutableRawPointer
        )
            throws -> Int?
        {
            let count = linux_lgetxattr(path, attribute, buffer, TreeComparison.step)
            guard count >= 0 || errno == ENODATA else { throw failure("cannot read an extended attribute") }
            return count < 0 ? nil : count
        }
        func each(_ list: [CChar], _ body: (UnsafePointer<CChar>) throws -> Void) rethrows {
            try list.withUnsafeBufferPointer { list in
                guard let base = list.baseAddress else { return }
                var start = 0
                while start < list.count {
                    try body(base + start)
                    start += strlen(base + start) + 1
                }
            }
        }
        let (originals, copies) = (try list(from), try list(to))
        try each(originals) { attribute in
            guard let was = try value(of: attribute, from, into: self.one) else { return }
            guard let now = try value(of: attribute, to, into: self.other) else {
                return try tell("the extended attribute \(text(attribute)) is missing")
            }
            guard was == now, memcmp(self.one, self.other, was) == 0
            else { return try tell("the extended attribute \(text(attribute)) has a different value") }
        }
        try each(copies) { attribute in
            guard try value(of: attribute, from, into: self.one) == nil else { return }
            try tell("the extended attribute \(text(attribute)) is not in the original")
        }
    }

    private func text(_ name: UnsafePointer<CChar>) -> String {
        printable(UnsafeRawBufferPointer(start: name, count: strlen(name)))
    }
}
