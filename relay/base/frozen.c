#include "relay/base/frozen.h"
#include "relay/base/must.h"
#include <stddef.h>

void frozen_init(struct frozen *f, void (*free_fn)(struct frozen *f))
{
    atomic_init(&f->refs, 1);
    f->free = free_fn;
}

struct frozen *frozen_ref(struct frozen *f)
{
    if (f)
        MUST(atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed) > 0);
    return f;
}

void frozen_unref(struct frozen *f)
{
    if (!f)
        return;
    /* The last one to let go must see all that the others did before. */
    unsigned before = atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel);
    MUST(before > 0);
    if (before == 1)
        f->free(f);
}
