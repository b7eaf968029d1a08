/* CRC-32C by the processor's own instruction, eight bytes at a time. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)

/* Whether this processor has SSE 4.2. */
static inline bool checksum_is_built_in(void) {
    return __builtin_cpu_supports("sse4.2");
}

__attribute__((target("sse4.2")))
static inline uint32_t checksum_crc32c(uint32_t value, const void *bytes, size_t count) {
    const unsigned char *next = (const unsigned char *)bytes;
    uint64_t wide = value, word;
    for (; count >= 8; count -= 8, next += 8) {
        memcpy(&word, next, 8);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    value = (uint32_t)wide;
    for (; count > 0; count--) value = __builtin_ia32_crc32qi(value, *next++);
    return value;
}

#else

static inline bool checksum_is_built_in(void) { return false; }

static inline uint32_t checksum_crc32c(uint32_t value, const void *bytes, size_t count) {
    (void)bytes;
    (void)count;
    return value;
}

#endif
