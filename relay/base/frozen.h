/* A snapshot that many threads read and nobody changes: configuration, TLS context, DNS plan. Embed
 * it first; the last unref calls free. */
#pragma once
#include <stdatomic.h>

struct frozen {
    atomic_uint refs;
    void (*free)(struct frozen *f);
};

void frozen_init(struct frozen *f, void (*free_fn)(struct frozen *f)); /* refs = 1 */
struct frozen *frozen_ref(struct frozen *f);                           /* NULL stays NULL */
void frozen_unref(struct frozen *f);                                   /* NULL is fine */
