/* What an operator sees of sites: what holds each back, how fast it goes, what was wrong last. */
#include "queue/sched_int.h"
#include "relay/base/buf.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include <stdlib.h>

#define MINUTE_MS 60000

/* The counts as they are in this minute of the clock. */
static void counts_at(const struct sched_site *t, int64_t minute, uint64_t ret[2])
{
    int64_t age = minute - t->minute;
    ret[0] = age == 0 ? t->begun[0] : 0;
    ret[1] = age == 0 ? t->begun[1] : age == 1 ? t->begun[0] : 0;
}

void site_count_job(struct sched_site *t, struct mono now)
{
    uint64_t counts[2];
    counts_at(t, now.ms / MINUTE_MS, counts);
    t->minute = now.ms / MINUTE_MS;
    t->begun[0] = counts[0] + 1;
    t->begun[1] = counts[1];
}

/* Of the minute before only the part that is not a minute past, as if it had been even. */
static uint64_t per_minute(const struct sched_site *t, struct mono now)
{
    uint64_t counts[2], left = (uint64_t)(MINUTE_MS - now.ms % MINUTE_MS);
    counts_at(t, now.ms / MINUTE_MS, counts);
    return counts[0] + counts[1] * left / MINUTE_MS;
}

void sched_note_error(struct sched *s, uint64_t conn, struct slice words, struct wall at)
{
    struct sched_conn *c = conn_find(s, conn);
    if (!c)
        return;
    free(c->site->error);
    c->site->error = slice_dup(words);
    c->site->error_at = at;
}

static struct sched_site_view view_of(const struct sched_site *t, struct mono now)
{
    const bool has_rate = t->limits.rate && t->bucket.full_us;
    return (struct sched_site_view){
        .site = site_name(t),
        .destination = site_destination(t),
        .ready = t->ready,
        .waiting = t->waiting,
        .connections = t->n_conns,
        .idle = t->n_idle,
        .window = t->window,
        .limit = t->limits.connections,
        .dead = t->dead,
        .suspended = t->suspended,
        .throttled = t->dead && t->throttled,
        .ours = t->dead && t->ours,
        .next_probe = t->dead ? t->next_probe : MONO_NEVER,
        .next_job =
            has_rate ? bucket_next(&t->bucket, t->limits.rate, t->limits.rate_ms) : MONO_NEVER,
        .rate = t->limits.rate,
        .rate_ms = t->limits.rate_ms,
        .per_minute = per_minute(t, now),
        .error = slice_str(t->error ? t->error : ""),
        .error_at = t->error_at,
        .hold = t->ceiling > 0 ? t->hold_until : (struct mono){0},
        .fails = t->fails};
}

void sched_each_site(const struct sched *s, struct mono now,
                     void (*each)(void *ctx, const struct sched_site_view *v), void *ctx)
{
    for (const struct sched_site *t = s->sites; t; t = t->hh.next) {
        const struct sched_site_view v = view_of(t, now);
        each(ctx, &v);
    }
}

bool sched_conn_where(const struct sched *s, uint64_t conn, struct slice *ret_site,
                      struct slice *ret_destination)
{
    const struct sched_conn *c = conn_find(s, conn);
    *ret_site = c ? site_name(c->site) : SLICE_LIT("");
    *ret_destination = c ? site_destination(c->site) : SLICE_LIT("");
    return c;
}

const struct sched_limits *sched_conn_limits(const struct sched *s, uint64_t conn)
{
    const struct sched_conn *c = conn_find(s, conn);
    return c ? &c->site->limits : NULL;
}

bool sched_site_look(const struct sched *s, struct slice destination, struct slice site,
                     struct mono now, struct sched_site_view *ret)
{
    DEFER(buf_done) struct buf key = BUF_MAX(destination.n + 1 + site.n);
    const struct sched_site *t;
    buf_add(&key, destination);
    buf_add_u8(&key, 0);
    buf_add(&key, site);
    HASH_FIND(hh, s->sites, key.p, key.n, t);
    if (t)
        *ret = view_of(t, now);
    return t;
}

/* In utlist's lists the first one's `prev` is the last one. */
bool sched_standing(const struct recipient *r, struct sched_standing *ret)
{
    struct sched_site *t = r->domain && r->prev ? r->domain->site : NULL;
    if (!t)
        return false;
    const struct message *m = recipient_message(r);
    const struct sched_rank *k = rank_of(t, m);
    const struct sched_lane *lane = lane_find(k, message_user(m));
    MUST(lane);
    *ret = (struct sched_standing){.rank = (unsigned)(k - t->ranks), .users = HASH_COUNT(k->lanes)};
    for (; r != lane->rcpts && ret->ahead < SCHED_AHEAD_MAX; r = r->prev)
        ret->ahead++;
    return true;
}
