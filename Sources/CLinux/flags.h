/* The inode flags that chattr(1) sets: linux/fs.h, and linux/btrfs.h, BTRFS_IOC_TREE_SEARCH_V2 and
 * INO_LOOKUP. */
#include <endian.h>
#include <errno.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

static const int linux_FLAG_APPEND = FS_APPEND_FL;
static const int linux_FLAG_IMMUTABLE = FS_IMMUTABLE_FL;
static const int linux_FLAG_NOCOW = FS_NOCOW_FL;

/* open(2): a file without a name. */
static const int linux_O_TMPFILE = 020000000 | 0200000;

/* FS_IOC_GETFLAGS and FS_IOC_SETFLAGS, ioctl_iflags(2). */
static inline int linux_get_flags(int fd, int *flags) {
    return ioctl(fd, FS_IOC_GETFLAGS, flags);
}

static inline int linux_set_flags(int fd, int flags) {
    return ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

/* FICLONE, ioctl_ficlone(2). */
static inline int linux_clone(int to, int from) {
    return ioctl(to, FICLONE, from);
}

struct linux_btrfs_inode {
    unsigned long long number;
    unsigned mode;
    int flags;
};

/* struct btrfs_inode_item, the kernel's fs/btrfs/btrfs_inode.h. */
enum { linux_btrfs_nodatacow = 1 << 1, linux_btrfs_immutable = 1 << 6, linux_btrfs_append = 1 << 7 };

/* What the search takes at once, and the most inodes that fit into that. */
enum { linux_btrfs_search_room = 1 << 20, linux_btrfs_search_most = 1 << 13 };

/* The inodes from *next to `end` that have a name and one of the three flags above in the subvolume of an open file: how many
 * were found in a part of its tree, and in *next where the following part starts, 0 at the end. Of tree blocks that no
 * transaction from `since` on has written, none is looked at. The room, of the size above, is aligned to 8 bytes. What was
 * not yet committed need not be found. */
static inline int linux_btrfs_flagged(
    int fd, unsigned long long *next, unsigned long long end, unsigned long long since, void *room,
    struct linux_btrfs_inode found[linux_btrfs_search_most]) {
    struct btrfs_ioctl_search_args_v2 *search = (struct btrfs_ioctl_search_args_v2 *)room;
    const unsigned char *at = (const unsigned char *)room + sizeof *search;
    unsigned long long last = 0;
    int count = 0;
    memset(search, 0, sizeof *search);
    search->buf_size = linux_btrfs_search_room - sizeof *search;
    search->key.min_objectid = *next;
    search->key.max_objectid = end;
    search->key.min_transid = since;
    search->key.max_offset = search->key.max_transid = ~0ULL;
    search->key.max_type = BTRFS_INODE_ITEM_KEY;
    search->key.nr_items = ~0U;
    if (ioctl(fd, BTRFS_IOC_TREE_SEARCH_V2, search) != 0) return -1;
    for (unsigned i = 0; i < search->key.nr_items; i++) {
        struct btrfs_ioctl_search_header header;
        struct btrfs_inode_item inode;
        memcpy(&header, at, sizeof header);
        at += sizeof header;
        last = header.objectid;
        if (header.type == BTRFS_INODE_ITEM_KEY && header.len >= sizeof inode) {
            memcpy(&inode, at, sizeof inode);
            unsigned long long flags = le64toh(inode.flags);
            int named = (flags & linux_btrfs_nodatacow ? FS_NOCOW_FL : 0) |
                (flags & linux_btrfs_immutable ? FS_IMMUTABLE_FL : 0) |
                (flags & linux_btrfs_append ? FS_APPEND_FL : 0);
            if (named && inode.nlink && count < linux_btrfs_search_most) {
                found[count].number = header.objectid;
                found[count].mode = le32toh(inode.mode);
                found[count++].flags = named;
            }
        }
        at += header.len;
    }
    /* An inode's other items come behind that one, and are passed over. */
    *next = search->key.nr_items && last < end ? last + 1 : 0;
    return count;
}

/* A path of that inode from the subvolume's root on, without a slash at its end; ENOENT where it has none. */
static inline int linux_btrfs_path(int fd, unsigned long long inode, char path[BTRFS_INO_LOOKUP_PATH_MAX]) {
    struct btrfs_ioctl_ino_lookup_args lookup;
    memset(&lookup, 0, sizeof lookup);
    lookup.objectid = inode;
    if (ioctl(fd, BTRFS_IOC_INO_LOOKUP, &lookup) != 0) return -1;
    size_t length = strnlen(lookup.name, sizeof lookup.name - 1);
    if (length > 0 && lookup.name[length - 1] == '/') length--;
    memcpy(path, lookup.name, length);
    path[length] = 0;
    return 0;
}
