/// The folders of a store in a directory, `escapepod-storage(7)`: `escapepod/DOMAIN/blobs`, `…/metadata` `…/keys`, `…/prunings`
/// and `…/trash`.
public enum Layout {
    /// In the top folder; in it a folder for each domain.
    public static let root = "escapepod"
    /// A blob's file has its address for a name.
    public static let blobs = "blobs"
    /// A document's file has the name of an `History.Entry` with its blob's address.
    public static let metadata = "metadata"
    /// A key's file has the name of an `History.Entry` with its own address.
    public static let keys = "keys"
    /// A file of a record of a pruning has the name of an `History.Entry` with its own address.
    public static let prunings = "prunings"
    /// Blobs on their way out, with the names that they had in `blobs`.
    public static let trash = "trash"
}
