/*
 * `status` and the summary of the queue, without walking it: counts are counters, ages come from
 * the ranks of ids (they grow with the time), replies from how many recipients share each.
 */
#include "relay/base/must.h"
#include "relay/spooler/core_int.h"

/* A step over the replies; so many different ones are looked at in all. */
enum { REPLIES_STEP = 4096, REPLIES_MAX = 65536 };

struct site_rows {
    struct core *c;
    struct spooler_admin *a;
};

static void site_row_add(void *ctx, const struct sched_site_view *v)
{
    struct site_rows *to = ctx;
    struct spooler_admin *a = to->a;
    /* Grown by doubling: capacity is the next power of two. */
    if ((a->n_sites & (a->n_sites - 1)) == 0)
        a->sites = must_realloc(a->sites, (a->n_sites ? a->n_sites * 2 : 1) * sizeof *a->sites);
    struct queue_site_row *r = &a->sites[a->n_sites++];
    *r = (struct queue_site_row){.site = buf_of(v->site), .destination = buf_of(v->destination)};
    site_row_fill(to->c, r, v);
}

static void count(struct core *c, struct spooler_admin *a)
{
    struct queue_totals *t = &a->totals;
    struct spool_counts n;
    const struct message *oldest = spool_after(c->spool, 0);
    core_disk(c, &t->disk);
    spool_count(c->spool, &n);
    sched_count(c->sched, &t->ready, &t->waiting);
    t->held = c->n_held;
    t->active = c->n_active;
    t->messages = n.messages;
    t->recipients = t->ready + t->waiting + t->held + t->active;
    t->live_bytes = n.live_bytes;
    t->disk_bytes = n.disk_bytes;
    t->segments = n.segments;
    t->oldest = oldest ? oldest->queued : (struct wall){0};
    sched_each_site(c->sched, c->mono, site_row_add, &(struct site_rows){c, a});
}

/* Messages whose id is older than so many seconds. */
static uint64_t older_than(const struct core *c, int64_t seconds)
{
    uint64_t first = queue_id_next(0, (struct wall){c->now.us - seconds * WALL_SECOND});
    return spool_rank(c->spool, first);
}

static void count_ages(const struct core *c, struct queue_totals *t)
{
    static const int64_t younger_than_s[] = {60, 600, 3600, 6 * 3600, 24 * 3600};
    const size_t n = sizeof younger_than_s / sizeof *younger_than_s;
    uint64_t left = t->messages;
    for (size_t i = 0; i < n; i++) {
        uint64_t older = older_than(c, younger_than_s[i]);
        t->age_buckets[i] = left - older;
        left = older;
    }
    t->age_buckets[n] = left;
}

static void add_reply(void *tally, const struct spool_reply *r)
{
    if (r->kind == VERDICT_DEFERRED && r->text.n)
        error_tally_add(tally, r);
}

/* The cursor counts replies here. */
static void count_replies(struct core *c, struct spooler_admin *a)
{
    size_t from = (size_t)a->at.id;
    a->next.id = spool_each_reply(c->spool, from, REPLIES_STEP, add_reply, &a->tally);
    if (a->next.id >= REPLIES_MAX)
        a->next.id = 0;
}

void totals_run(struct core *c, struct spooler_admin *a)
{
    if (a->at.id == 0)
        count(c, a);
    if (a->verb == ADMIN_STATUS)
        return;
    if (a->at.id == 0)
        count_ages(c, &a->totals);
    count_replies(c, a);
    if (a->next.id == 0)
        error_tally_top(a->tally, &a->totals);
}
