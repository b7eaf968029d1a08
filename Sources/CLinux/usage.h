/* What a btrfs has left, in bytes: linux/btrfs.h, BTRFS_IOC_SPACE_INFO, DEV_INFO and TREE_SEARCH. */
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <endian.h>
#include <string.h>
#include <sys/ioctl.h>

struct linux_btrfs_usage {
    unsigned long long metadata_free, unallocated;
    int has_quotas;
};

/* ENOTTY on any other file system. */
static inline int linux_btrfs_ask_usage(int fd, struct linux_btrfs_usage *usage) {
    enum { most = 16 };
    union {
        struct btrfs_ioctl_space_args args;
        char room[sizeof(struct btrfs_ioctl_space_args) + most * sizeof(struct btrfs_ioctl_space_info)];
    } spaces;
    struct btrfs_ioctl_fs_info_args info;
    unsigned long long reserved = 0;
    memset(usage, 0, sizeof *usage);
    memset(&spaces, 0, sizeof spaces);
    spaces.args.space_slots = most;
    if (ioctl(fd, BTRFS_IOC_SPACE_INFO, &spaces) != 0) return -1;
    for (unsigned long long i = 0; i < spaces.args.total_spaces && i < most; i++) {
        struct btrfs_ioctl_space_info space = spaces.args.spaces[i];
        unsigned long long left = space.total_bytes > space.used_bytes ? space.total_bytes - space.used_bytes : 0;
        if (space.flags & BTRFS_SPACE_INFO_GLOBAL_RSV)
            reserved += left;
        else if (space.flags & BTRFS_BLOCK_GROUP_METADATA)
            usage->metadata_free += left;
    }
    usage->metadata_free -= reserved < usage->metadata_free ? reserved : usage->metadata_free;
    memset(&info, 0, sizeof info);
    if (ioctl(fd, BTRFS_IOC_FS_INFO, &info) != 0) return -1;
    for (unsigned long long id = 0; id <= info.max_id; id++) {
        struct btrfs_ioctl_dev_info_args device;
        memset(&device, 0, sizeof device);
        device.devid = id;
        if (ioctl(fd, BTRFS_IOC_DEV_INFO, &device) == 0 && device.total_bytes > device.bytes_used)
            usage->unallocated += device.total_bytes - device.bytes_used;
    }
    /* The quota tree is there only where quotas are on; simple ones count nothing anew. */
    struct btrfs_ioctl_search_args search;
    memset(&search, 0, sizeof search);
    search.key.tree_id = BTRFS_QUOTA_TREE_OBJECTID;
    search.key.max_objectid = search.key.max_offset = search.key.max_transid = ~0ULL;
    search.key.max_type = ~0U;
    search.key.nr_items = 1;
    if (ioctl(fd, BTRFS_IOC_TREE_SEARCH, &search) == 0) {
        struct btrfs_ioctl_search_header header;
        unsigned long long flags = 0;
        memcpy(&header, search.buf, sizeof header);
        /* struct btrfs_qgroup_status_item: version, generation, flags. */
        if (search.key.nr_items == 1 && header.type == BTRFS_QGROUP_STATUS_KEY && header.len >= 3 * sizeof flags)
            memcpy(&flags, search.buf + sizeof header + 2 * sizeof flags, sizeof flags);
        usage->has_quotas = !(le64toh(flags) & 1 << 3 /* BTRFS_QGROUP_STATUS_FLAG_SIMPLE_MODE */);
    }
    return 0;
}
