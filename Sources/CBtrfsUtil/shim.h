#include <btrfsutil.h>
#include <linux/btrfs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

/* BTRFS_IOC_SET_RECEIVED_SUBVOL: -1 and errno on failure. */
static inline int btrfs_set_received(int subvolume, const void *uuid, unsigned long long transaction) {
    struct btrfs_ioctl_received_subvol_args how;
    memset(&how, 0, sizeof how);
    memcpy(how.uuid, uuid, sizeof how.uuid);
    how.stransid = transaction;
    return ioctl(subvolume, BTRFS_IOC_SET_RECEIVED_SUBVOL, &how);
}

/* BTRFS_IOC_ENCODED_WRITE: data as the file system compressed it. -1 and errno on failure. From Linux 5.18 on. */
static inline int btrfs_write_encoded(
    int file, const void *bytes, size_t count, long long offset, unsigned long long length,
    unsigned long long unencoded_length, unsigned long long unencoded_offset, unsigned compression) {
    struct iovec part = {(void *)bytes, count};
    struct btrfs_ioctl_encoded_io_args how;
    memset(&how, 0, sizeof how);
    how.iov = &part;
    how.iovcnt = 1;
    how.offset = offset;
    how.len = length;
    how.unencoded_len = unencoded_length;
    how.unencoded_offset = unencoded_offset;
    how.compression = compression;
    return ioctl(file, BTRFS_IOC_ENCODED_WRITE, &how);
}
