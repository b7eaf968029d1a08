import Envelope

/// What no store holds more of, whatever it says, and no driver takes or gives.
public enum StoreLimits {
    /// Bytes of a sealed document.
    public static let document = Envelope.maximumSealedDocumentLength
    /// Bytes of a sealed key; much more than one has.
    public static let key = 4096
    /// Bytes of a file in the top folder for whoever finds it.
    public static let file = 1 << 20
    /// Backups of a domain: one an hour for a century.
    public static let history = 1_000_000
    /// The greatest number of a document or a key.
    public static let number: UInt64 = 9_999_999_999
}
