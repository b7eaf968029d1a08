/* The compressions of btrfs, each block at once. Their libraries, which btrfs-progs needs as well, are loaded when they are first
 * wanted: hardly any run wants one. The result is the length, -1 for what is damaged or longer than there is room for, and -2 where
 * the library is not there. */
#include <dlfcn.h>
#include <lzo/lzo1x.h>
#include <sys/types.h>
#include <zlib.h>
#include <zstd.h>

#define LOADED(FUNCTION, LIBRARY)                                                                                      \
    static __typeof__(FUNCTION) *function;                                                                             \
    if (!function) {                                                                                                   \
        void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);                                                        \
        if (library)                                                                                                   \
            function = (__typeof__(FUNCTION) *)dlsym(library, #FUNCTION);                                              \
        if (!function)                                                                                                 \
            return -2;                                                                                                 \
    }

/* What follows the stream is padding. */
static inline ssize_t decompress_zlib(const void *bytes, size_t count, void *room, size_t size) {
    LOADED(uncompress, "libz.so.1")
    uLongf length = size;
    return function(room, &length, bytes, count) == Z_OK ? (ssize_t)length : -1;
}

static inline ssize_t zstd_frame_length(const void *bytes, size_t count) {
    LOADED(ZSTD_findFrameCompressedSize, "libzstd.so.1")
    size_t length = function(bytes, count);
    return length <= count ? (ssize_t)length : -1;
}

/* What follows the frame is padding. */
static inline ssize_t decompress_zstd(const void *bytes, size_t count, void *room, size_t size) {
    LOADED(ZSTD_decompress, "libzstd.so.1")
    ssize_t frame = zstd_frame_length(bytes, count);
    if (frame < 0)
        return frame;
    size_t length = function(room, size, bytes, (size_t)frame);
    return length <= size ? (ssize_t)length : -1;
}

static inline ssize_t decompress_lzo(const void *bytes, size_t count, void *room, size_t size) {
    LOADED(lzo1x_decompress_safe, "liblzo2.so.2")
    lzo_uint length = size;
    return function(bytes, count, room, &length, 0) == LZO_E_OK ? (ssize_t)length : -1;
}

#undef LOADED
