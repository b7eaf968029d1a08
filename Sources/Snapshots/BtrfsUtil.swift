import CBtrfsUtil
import Glibc
import Plumbing

/// Runs a call of libbtrfsutil and turns its error into ours; `errno` says more where a system call failed.
func btrfs(_ what: String, at place: String, _ call: () -> btrfs_util_error) throws {
    errno = 0
    let error = call()
    switch error {
    case BTRFS_UTIL_OK: return
    case _ where error == BTRFS_UTIL_ERROR_NOT_BTRFS || errno == ENOTTY:
        throw Failure(.badData, "not on a btrfs file system", at: place)
    case BTRFS_UTIL_ERROR_NOT_SUBVOLUME:
        throw Failure(
            .badData, "not the root of a btrfs subvolume", at: place,
            hint:
                "give the subvolume itself, not a directory inside it; btrfs subvolume list shows what there is"
        )
    case _ where errno == EXDEV:
        throw Failure(
            .badData, "\(what): it is on another file system", at: place,
            hint: "a snapshot must be on the file system of its source")
    case _ where errno != 0: throw Failure.system(what, at: place)
    default: throw Failure(.io, "\(what): \(String(cString: btrfs_util_strerror(error)))", at: place)
    }
}
