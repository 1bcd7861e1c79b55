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
