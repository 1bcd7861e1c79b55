#include "relay/base/must.h"
#include <stdio.h>
#include <stdlib.h>

void must_failed(const char *what, const char *file, int line)
{
    dprintf(2, "level=error event=bug where=%s:%d what=\"%s\"\n", file, line, what);
    abort();
}

void *must_alloc(unsigned long n)
{
    void *p = calloc(1, n ? n : 1);
    MUST(p != NULL);
    return p;
}

void *must_realloc(void *p, unsigned long n)
{
    void *q = realloc(p, n ? n : 1);
    MUST(q != NULL);
    return q;
}
