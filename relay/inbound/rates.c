#include "relay/inbound/rates.h"
#include "relay/base/must.h"
#include <stdlib.h>
#include <uthash.h>
#include <uv.h>

#define SWEEP_FIRST 1024

/* Credit is recipients × period in ms, so that a millisecond adds `recipients` exactly. */
struct bucket {
    char *user;
    struct user_rate of;
    uint64_t credit;
    struct mono at;
    UT_hash_handle hh;
};

struct rates {
    uv_mutex_t lock;
    struct bucket *buckets;
    unsigned sweep_at;
};

struct rates *rates_new(void)
{
    struct rates *r = must_alloc(sizeof *r);
    MUST(uv_mutex_init(&r->lock) == 0);
    r->sweep_at = SWEEP_FIRST;
    return r;
}

static void forget(struct rates *r, struct bucket *b)
{
    HASH_DEL(r->buckets, b);
    free(b->user);
    free(b);
}

void rates_free(struct rates *r)
{
    struct bucket *b, *next;
    HASH_ITER (hh, r->buckets, b, next)
        forget(r, b);
    uv_mutex_destroy(&r->lock);
    free(r);
}

static uint64_t room_of(const struct user_rate *limit)
{
    return limit->burst * (uint64_t)limit->period_ms;
}

static void fill(struct bucket *b, struct mono now)
{
    const uint64_t room = room_of(&b->of), missing = room - b->credit;
    const uint64_t ms = now.ms > b->at.ms ? (uint64_t)(now.ms - b->at.ms) : 0;
    b->credit = ms > missing / b->of.recipients ? room : b->credit + ms * b->of.recipients;
    b->at = now;
}

/* The file has another rate: whole recipients stay, as far as there is room. */
static void measure_anew(struct bucket *b, const struct user_rate *limit)
{
    uint64_t left = b->credit / (uint64_t)b->of.period_ms;
    b->of = *limit;
    b->credit = (left < limit->burst ? left : limit->burst) * (uint64_t)limit->period_ms;
}

/* A full one is as good as none. */
static void sweep(struct rates *r, struct mono now)
{
    struct bucket *b, *next;
    HASH_ITER (hh, r->buckets, b, next) {
        fill(b, now);
        if (b->credit == room_of(&b->of))
            forget(r, b);
    }
    r->sweep_at =
        HASH_COUNT(r->buckets) * 2 > SWEEP_FIRST ? HASH_COUNT(r->buckets) * 2 : SWEEP_FIRST;
}

static struct bucket *bucket_of(struct rates *r, const char *user, const struct user_rate *limit,
                                struct mono now)
{
    struct bucket *b = NULL;
    HASH_FIND_STR(r->buckets, user, b);
    if (b) {
        fill(b, now);
        if (b->of.recipients != limit->recipients || b->of.burst != limit->burst ||
            b->of.period_ms != limit->period_ms)
            measure_anew(b, limit);
        return b;
    }
    if (HASH_COUNT(r->buckets) >= r->sweep_at)
        sweep(r, now);
    b = must_alloc(sizeof *b);
    *b = (struct bucket){
        .user = slice_dup(slice_str(user)), .of = *limit, .credit = room_of(limit), .at = now};
    HASH_ADD_KEYPTR(hh, r->buckets, b->user, strlen(b->user), b);
    return b;
}

static int64_t seconds_until(const struct bucket *b, uint64_t wanted)
{
    const uint64_t ms = (wanted - b->credit + b->of.recipients - 1) / b->of.recipients;
    return (int64_t)((ms + 999) / 1000);
}

int64_t rates_take(struct rates *r, const char *user, const struct user_rate *limit, unsigned n,
                   struct mono now)
{
    uv_mutex_lock(&r->lock);
    struct bucket *b = bucket_of(r, user, limit, now);
    const uint64_t wanted = (n ? n : 1) * (uint64_t)limit->period_ms;
    const int64_t wait_s = b->credit < wanted ? seconds_until(b, wanted) : 0;
    if (wait_s == 0)
        b->credit -= n * (uint64_t)limit->period_ms;
    uv_mutex_unlock(&r->lock);
    return wait_s;
}
