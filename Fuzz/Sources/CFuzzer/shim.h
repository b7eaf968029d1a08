/* What libFuzzer has for a program with a main of its own: llvm.org/docs/LibFuzzer.html. */
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerRunDriver(int *count, char ***arguments, int (*target)(const uint8_t *bytes, size_t count));
