#include "relay/base/crc32c.h"
#include <pthread.h>
#include <string.h>

enum { POLYNOMIAL_BITS = 8 };

static uint32_t table[256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void table_make(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < POLYNOMIAL_BITS; bit++)
            crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78U : 0);
        table[i] = crc;
    }
}

uint32_t crc32c_table(uint32_t crc, const void *p, size_t n)
{
    pthread_once(&table_once, table_make);
    const uint8_t *at = p;
    crc = ~crc;
    for (size_t i = 0; i < n; i++)
        crc = (crc >> 8) ^ table[(crc ^ at[i]) & 0xff];
    return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const void *p,
                                                                 size_t n)
{
    const uint8_t *at = p;
    uint64_t wide = (uint32_t)~crc;
    for (; n >= 8; n -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    uint32_t narrow = (uint32_t)wide;
    for (; n > 0; n--)
        narrow = __builtin_ia32_crc32qi(narrow, *at++);
    return ~narrow;
}
#endif

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return by_instruction(crc, p, n);
#endif
    return crc32c_table(crc, p, n);
}
