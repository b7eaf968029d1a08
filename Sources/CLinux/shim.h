/* What Linux has and Swift's Glibc module does not show, because it is built without _GNU_SOURCE.
 * Each function is its system call: -1 and errno on failure. */
#include <linux/btrfs.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

static const int linux_O_DIRECT = 040000;
static const int linux_O_PATH = 010000000;
static const int linux_F_SETPIPE_SZ = 1031;

/* mount(2): two headers that know these flags make their names ambiguous to Swift. */
static const unsigned long linux_MOUNT_READ_ONLY = MS_RDONLY;
static const unsigned long linux_MOUNT_UNTRUSTED = MS_NOSUID | MS_NODEV | MS_NOEXEC;
static const unsigned long linux_MOUNT_EXECUTABLE = MS_NOSUID | MS_NODEV;
static const unsigned long linux_MOUNT_TREE_SLAVE = MS_REC | MS_SLAVE;

/* pipe2(2) with O_CLOEXEC. */
static inline int linux_pipe(int ends[2]) {
    return (int)syscall(SYS_pipe2, ends, 02000000);
}

/* sync_file_range(2): the flags of "start the write-back" and of "wait until it is done". */
static const unsigned linux_SYNC_WRITE = 2;
static const unsigned linux_SYNC_WAIT = 1 | 2 | 4;

static inline int linux_sync_file_range(int fd, off_t offset, off_t length, unsigned flags) {
    return (int)syscall(SYS_sync_file_range, fd, offset, length, flags);
}

/* renameat2(2) with RENAME_NOREPLACE: EEXIST where the new name is taken. */
static inline int linux_rename_new(int from, const char *old_name, int to, const char *new_name) {
    return (int)syscall(SYS_renameat2, from, old_name, to, new_name, RENAME_NOREPLACE);
}

/* unshare(2) with CLONE_NEWNS: mounts made from here on are seen by this process and its children alone. */
static inline int linux_unshare_mounts(void) {
    return (int)syscall(SYS_unshare, CLONE_NEWNS);
}

/* TCP_INFO, getsockopt(2), as far as the bytes that have crossed a connection: netinet/tcp.h stops short of them, and
 * linux/tcp.h cannot stand beside it. */
struct linux_tcp_traffic {
    char others[120];
    unsigned long long acknowledged, received;
};

/* syncfs(2), for the file systems that cannot fsync a directory. */
static inline int linux_syncfs(int fd) {
    return (int)syscall(SYS_syncfs, fd);
}

/* lseek(2): the next data, the next hole. */
static const int linux_SEEK_DATA = 3;
static const int linux_SEEK_HOLE = 4;

/* llistxattr(2) and lgetxattr(2): the names, each with its zero byte, and one value; a symbolic link is not followed. */
static inline ssize_t linux_llistxattr(const char *path, void *names, size_t size) {
    return syscall(SYS_llistxattr, path, names, size);
}

static inline ssize_t linux_lgetxattr(const char *path, const char *name, void *value, size_t size) {
    return syscall(SYS_lgetxattr, path, name, value, size);
}

/* lsetxattr(2) and lremovexattr(2), likewise. */
static inline int linux_lsetxattr(const char *path, const char *name, const void *value, size_t size) {
    return (int)syscall(SYS_lsetxattr, path, name, value, size, 0);
}

static inline int linux_lremovexattr(const char *path, const char *name) {
    return (int)syscall(SYS_lremovexattr, path, name);
}

/* fgetxattr(2), fsetxattr(2) and fremovexattr(2). */
static inline ssize_t linux_fgetxattr(int fd, const char *name, void *value, size_t size) {
    return syscall(SYS_fgetxattr, fd, name, value, size);
}

static inline int linux_fsetxattr(int fd, const char *name, const void *value, size_t size) {
    return (int)syscall(SYS_fsetxattr, fd, name, value, size, 0);
}

static inline int linux_fremovexattr(int fd, const char *name) {
    return (int)syscall(SYS_fremovexattr, fd, name);
}

/* openat2(2), close-on-exec: only what lies below the folder, and by way of real folders alone. From Linux 5.6 on. */
static inline int linux_open_beneath(int folder, const char *path, int flags) {
    struct open_how how = {
        .flags = (unsigned)flags | 02000000,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
    };
    return (int)syscall(SYS_openat2, folder, path, &how, sizeof how);
}

/* fchmodat2(2) with AT_SYMLINK_NOFOLLOW: EOPNOTSUPP for a symbolic link. From Linux 6.6 on; newer than the header. */
static inline int linux_chmod(int folder, const char *name, unsigned mode) {
    return (int)syscall(452, folder, name, mode, 0x100);
}

/* setxattrat(2) and removexattrat(2) with AT_SYMLINK_NOFOLLOW. From Linux 6.13 on; newer than the header. */
struct linux_xattr {
    unsigned long long value __attribute__((aligned(8)));
    unsigned size, flags;
};

static inline int linux_setxattrat(
    int folder, const char *name, const char *attribute, const void *value, size_t size) {
    struct linux_xattr how = {.value = (unsigned long long)(uintptr_t)value, .size = (unsigned)size};
    return (int)syscall(463, folder, name, 0x100, attribute, &how, sizeof how);
}

static inline int linux_removexattrat(int folder, const char *name, const char *attribute) {
    return (int)syscall(466, folder, name, 0x100, attribute);
}

/* FICLONERANGE, ioctl_ficlonerange(2). */
static inline int linux_clone_range(
    int to, unsigned long long to_offset, int from, unsigned long long from_offset, unsigned long long length) {
    struct file_clone_range range = {
        .src_fd = from, .src_offset = from_offset, .src_length = length, .dest_offset = to_offset};
    return ioctl(to, FICLONERANGE, &range);
}

/* fallocate(2): every mode. */
static inline int linux_fallocate(int fd, int mode, off_t offset, off_t length) {
    return (int)syscall(SYS_fallocate, fd, mode, offset, length);
}

/* BTRFS_IOC_FS_INFO: 1 and the UUID of the btrfs that an open file is on, 0 where that is on another file system. */
static inline int linux_btrfs_uuid(int fd, unsigned char uuid[16]) {
    struct statfs status;
    struct btrfs_ioctl_fs_info_args info;
    if (fstatfs(fd, &status) != 0) return -1;
    if ((unsigned long)status.f_type != BTRFS_SUPER_MAGIC) return 0;
    memset(&info, 0, sizeof info);
    if (ioctl(fd, BTRFS_IOC_FS_INFO, &info) != 0) return -1;
    memcpy(uuid, info.fsid, 16);
    return 1;
}
