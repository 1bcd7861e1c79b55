/* Our own bugs: MUST(cond) is on in release, says where, and aborts; the spool recovers at the next
 * start. */
#pragma once

#define MUST(cond)                                                                                 \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0))                                                          \
            must_failed(#cond, __FILE__, __LINE__);                                                \
    } while (0)
#define UNREACHABLE() must_failed("unreachable", __FILE__, __LINE__)

_Noreturn void must_failed(const char *what, const char *file, int line);

/* malloc family that aborts: for small sizes that no peer chooses. */
void *must_alloc(unsigned long n); /* zeroed */
void *must_realloc(void *p, unsigned long n);

/* What malloc takes from the system for n bytes (glibc, 64 bits): for sums that are to be true. */
static inline unsigned long must_bytes(unsigned long n)
{
    return n <= 24 ? 32 : (n + 8 + 15) & ~15ul;
}
