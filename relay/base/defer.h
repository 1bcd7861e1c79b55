/* Locals that clean up after themselves: `DEFER_FREE char *s = …;`, `DEFER(buf_done) struct buf b =
 * …;` */
#pragma once
#include <stdlib.h>

static inline void defer_free(void *pp)
{
    free(*(void **)pp);
}
#define DEFER_FREE __attribute__((cleanup(defer_free)))
#define DEFER(fn) __attribute__((cleanup(fn)))
/* Gives away what a variable held: the variable is NULL after. */
#define TAKE_PTR(var)                                                                              \
    __extension__({                                                                                \
        __typeof__(var) taken_ = (var);                                                            \
        (var) = NULL;                                                                              \
        taken_;                                                                                    \
    })
