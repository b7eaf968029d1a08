/* What Linux has and Swift's Glibc module does not show, because it is built without _GNU_SOURCE.
 * Each function is its system call: -1 and errno on failure. */
#include <linux/fs.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <sys/syscall.h>
#include <unistd.h>

static const int linux_O_DIRECT = 040000;
static const int linux_O_PATH = 010000000;
static const int linux_F_SETPIPE_SZ = 1031;

/* mount(2): two headers that know these flags make their names ambiguous to Swift. */
static const unsigned long linux_MOUNT_READ_ONLY = MS_RDONLY;
static const unsigned long linux_MOUNT_UNTRUSTED = MS_NOSUID | MS_NODEV | MS_NOEXEC;
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
