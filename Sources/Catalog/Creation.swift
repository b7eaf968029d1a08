import Envelope
import JSON
import Plumbing

extension Document {
    /// The document of a backup that is in the store, from what the stages said of it.
    ///
    /// - Parameter members: of a machine's own backup, those of its members; nil for any other.
    /// - Returns: it, and its bytes: one line, with its newline.
    /// - Throws: `badData` where two of them contradict each other; a document made of such would describe no backup.
    public static func create(
        domain: String, plan: Plan, snapshot: Snapshot, report: Report, receipt: Receipt, producer: Producer,
        members: [NamedBackup]? = nil
    ) throws -> (document: Document, line: [UInt8]) {
        func require(_ agrees: Bool, _ what: @autoclosure () -> String, hint: String? = nil) throws {
            guard agrees else { throw Failure(.badData, what(), hint: hint) }
        }
        try require(plan.domain == domain, "the plan is for \(plan.domain), not for \(domain)")
        try require(
            snapshot.isReadOnly, "the snapshot is writable, so it may not be what was sent",
            hint: "ep-snap create takes read-only snapshots")
        try require(!snapshot.isChanged, "the snapshot has changed since it was taken")
        try require(
            report.uuid == snapshot.sentUUID,
            "the send stream has UUID \(report.uuid), but the snapshot has \(snapshot.sentUUID)")
        try require(
            report.type == plan.type,
            "the send stream is \(report.type.rawValue), but the plan is \(plan.type.rawValue)",
            hint: "btrfs send needs -p for an incremental backup, and must not get it for a full one")
        try require(
            report.parentUUID == plan.parent?.uuid,
            "the send stream builds on \(report.parentUUID ?? "nothing"), "
                + "but the plan on \(plan.parent?.uuid ?? "nothing")")
        let sealed = Envelope.sealedLength(of: UInt64(report.compressed ?? report.bytes))
        try require(
            UInt64(receipt.size) == sealed,
            "the blob in the store has \(receipt.size) bytes, but the sealed stream has \(sealed)")
        let backup = Backup(
            domain: domain, generation: plan.generation, type: plan.type, uuid: report.uuid,
            date: snapshot.created, receipt: receipt,
            uncompressed: report.compressed == nil ? nil : report.bytes, producer: producer)
        let line = Metadata(
            backup: backup, previous: plan.previous, parent: plan.parent, ancestry: plan.ancestry,
            members: members
        ).json.line
        // What a restore would refuse must not become the head.
        return (try Document(parsing: line, at: "the new document"), line)
    }
}
