/// The four places for one store's snapshots in a volume. A place is no identity: that is the UUID.
public enum Slot: String, CaseIterable, Sendable {
    /// The newest full backup.
    case root
    /// The incremental one before the newest.
    case lastParent = "last-parent"
    /// The newest incremental one.
    case currentParent = "current-parent"
    /// What is being backed up.
    case currentState = "current-state"
}

/// What kind of backup the slots are rotated after.
public enum BackupType: String, CaseIterable, Sendable {
    case full
    case incremental
}
