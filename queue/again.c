/*
 * Events of a running spool once more: for a delivery log that had no memory to keep all of them
 * while it could not be written. The segments that have them are there, because none is freed
 * before the log has its events.
 */
#include "queue/outbox.h"
#include "queue/spool_private.h"
#include "relay/base/must.h"
#include <stdlib.h>

struct spool_again {
    const struct file_ops *fs;
    uint32_t salt;
    uint64_t last, upto; /* told; to tell */
    uint64_t bytes;      /* of what was told */
    struct segment **pinned;
    struct segment_found *found;
    size_t n;
    void (*each)(void *ctx, const struct event *e);
    void *ctx;
};

struct spool_again *spool_again_new(struct spool *s, uint64_t after, uint64_t upto)
{
    struct spool_again *a = must_alloc(sizeof *a);
    size_t n = 0;
    for (const struct segment *g = s->segments; g; g = g->next)
        n++;
    *a = (struct spool_again){.fs = s->fs, .salt = s->salt, .last = after, .upto = upto};
    a->pinned = must_alloc((n + 1) * sizeof(struct segment *));
    a->found = must_alloc((n + 1) * sizeof *a->found);
    for (struct segment *g = s->segments; g; g = g->next) {
        if (g->max_seq <= after)
            continue;
        g->pins++;
        a->pinned[a->n] = g;
        a->found[a->n++] = segment_as_found(g);
    }
    return a;
}

static void tell(void *ctx, const struct event *e)
{
    struct spool_again *a = ctx;
    if (e->seq <= a->last || e->seq > a->upto)
        return;
    a->last = e->seq;
    a->bytes += sizeof *e + e->fields.n;
    a->each(a->ctx, e);
}

/* True: go on with the next segment. */
static bool read_one(struct spool_again *a, const struct segment_found *f, uint64_t max_bytes,
                     int *ret_error)
{
    struct segment_reader reader;
    struct record rec;
    int rc = segment_reader_init(&reader, a->fs, f, a->salt);
    if (rc == 0) {
        while (a->last < a->upto && a->bytes < max_bytes &&
               (rc = segment_reader_next(&reader, &rec)) > 0)
            outbox_read(rec.header.type, rec.head, tell, a);
        segment_reader_done(&reader);
    }
    *ret_error = rc < 0 ? rc : 0;
    return rc >= 0 && a->last < a->upto && a->bytes < max_bytes;
}

uint64_t spool_again_run(struct spool_again *a, uint64_t max_bytes,
                         void (*each)(void *ctx, const struct event *e), void *ctx)
{
    int error = 0;
    bool more = true;
    a->each = each;
    a->ctx = ctx;
    for (size_t i = 0; i < a->n && more; i++)
        more = read_one(a, &a->found[i], max_bytes, &error);
    return more && error == 0 ? a->upto : a->last;
}

void spool_again_free(struct spool *s, struct spool_again *a)
{
    (void)s; /* pins are the owner's */
    for (size_t i = 0; i < a->n; i++)
        a->pinned[i]->pins--;
    free(a->pinned);
    free(a->found);
    free(a);
}
