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
    bool passes_over;
    int error;        /* the first trouble; 0: none … */
    uint32_t segment; /* … and where */
    void (*each)(void *ctx, const struct event *e);
    void *ctx;
};

struct spool_again *spool_again_new(struct spool *s, uint64_t after, uint64_t upto,
                                    bool passes_over)
{
    struct spool_again *a = must_alloc(sizeof *a);
    size_t n = 0;
    for (const struct segment *g = s->segments; g; g = g->next)
        n++;
    *a = (struct spool_again){
        .fs = s->fs, .salt = s->salt, .last = after, .upto = upto, .passes_over = passes_over};
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

static bool is_enough(const struct spool_again *a, uint64_t max_bytes)
{
    return a->last >= a->upto || a->bytes >= max_bytes;
}

static int read_one(struct spool_again *a, const struct segment_found *f, uint64_t max_bytes)
{
    struct segment_reader reader;
    struct record rec;
    int rc = segment_reader_init(&reader, a->fs, f, a->salt);
    if (rc < 0)
        return rc;
    while (!is_enough(a, max_bytes) && (rc = segment_reader_next(&reader, &rec)) > 0)
        outbox_read(rec.header.type, rec.head, tell, a);
    segment_reader_done(&reader);
    return rc < 0 ? rc : 0;
}

uint64_t spool_again_run(struct spool_again *a, uint64_t max_bytes,
                         void (*each)(void *ctx, const struct event *e), void *ctx)
{
    a->each = each;
    a->ctx = ctx;
    for (size_t i = 0; i < a->n; i++) {
        int rc = read_one(a, &a->found[i], max_bytes);
        if (rc < 0 && a->error == 0) {
            a->error = rc;
            a->segment = a->found[i].number;
        }
        if ((rc < 0 && !a->passes_over) || is_enough(a, max_bytes))
            return a->last;
    }
    return a->upto;
}

int spool_again_trouble(const struct spool_again *a, uint32_t *ret_segment)
{
    *ret_segment = a->segment;
    return a->error;
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
