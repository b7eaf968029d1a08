/* Files as block devices: linux/loop.h, loop(4). */
#include <linux/loop.h>
#include <sys/ioctl.h>

/* LOOP_CTL_GET_FREE: the number of a device that is free, on /dev/loop-control. */
static inline int linux_loop_free(int control) {
    return ioctl(control, LOOP_CTL_GET_FREE);
}

/* LOOP_CONFIGURE, until nobody has it open any more: EBUSY where somebody else has taken it. From Linux 5.8 on. */
static inline int linux_loop_attach(int device, int file) {
    struct loop_config how = {.fd = (unsigned)file, .info = {.lo_flags = LO_FLAGS_AUTOCLEAR}};
    return ioctl(device, LOOP_CONFIGURE, &how);
}
