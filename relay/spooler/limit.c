#include "relay/spooler/limit.h"
#include "relay/base/must.h"
#include <stdlib.h>
#define HASH_FUNCTION(key, length, ret_hash)                                                       \
    ((ret_hash) = (unsigned)slice_hash(slice_of((key), (length))))
#include <uthash.h>

enum { SWEEP_FIRST = 1024 };

struct name {
    UT_hash_handle hh;
    uint64_t hash;
    int64_t full_us; /* when all that was taken has been made up for */
    bool waited;
};

struct limit {
    struct name *names;
    struct name others;
    unsigned sweep_at;
};

struct limit *limit_new(void)
{
    struct limit *l = must_alloc(sizeof *l);
    l->sweep_at = SWEEP_FIRST;
    return l;
}

void limit_free(struct limit *l)
{
    struct name *n, *next;
    if (!l)
        return;
    HASH_ITER (hh, l->names, n, next) {
        HASH_DEL(l->names, n);
        free(n);
    }
    free(l);
}

static int64_t us_of(struct mono t)
{
    return t.ms * 1000;
}

static int64_t interval_us(const struct limit_rate *r)
{
    const int64_t us = r->per_ms * 1000 / r->n;
    return us > 0 ? us : 1;
}

static struct name *find(struct limit *l, uint64_t hash)
{
    struct name *n = NULL;
    HASH_FIND(hh, l->names, &hash, sizeof hash, n);
    return n;
}

/* Who is idle is as good as unknown. */
static void sweep(struct limit *l, struct mono now)
{
    struct name *n, *next;
    HASH_ITER (hh, l->names, n, next) {
        if (n->full_us > us_of(now))
            continue;
        HASH_DEL(l->names, n);
        free(n);
    }
    const unsigned twice = HASH_COUNT(l->names) * 2;
    l->sweep_at = twice < SWEEP_FIRST       ? SWEEP_FIRST
                  : twice > LIMIT_NAMES_MAX ? LIMIT_NAMES_MAX
                                            : twice;
}

static struct name *get(struct limit *l, struct slice name, struct mono now)
{
    const uint64_t hash = slice_hash(name);
    struct name *n = find(l, hash);
    if (n)
        return n;
    if (HASH_COUNT(l->names) >= l->sweep_at)
        sweep(l, now);
    if (HASH_COUNT(l->names) >= LIMIT_NAMES_MAX)
        return &l->others;
    n = must_alloc(sizeof *n);
    n->hash = hash;
    HASH_ADD(hh, l->names, hash, sizeof n->hash, n);
    return n;
}

static int64_t wait_us(const struct name *n, const struct limit_rate *r, struct mono now)
{
    const int64_t room = r->per_ms * 1000 - interval_us(r);
    const int64_t full = n && n->full_us > us_of(now) ? n->full_us : us_of(now);
    return full - room > us_of(now) ? full - room - us_of(now) : 0;
}

int64_t limit_look(struct limit *l, struct slice name, const struct limit_rate *r, struct mono now)
{
    if (!r->n)
        return 0;
    const struct name *n = find(l, slice_hash(name));
    if (!n && HASH_COUNT(l->names) >= LIMIT_NAMES_MAX)
        n = &l->others;
    return (wait_us(n, r, now) + 999) / 1000;
}

bool limit_take(struct limit *l, struct slice name, const struct limit_rate *r, struct mono now)
{
    if (!r->n)
        return false;
    struct name *n = get(l, name, now);
    const bool waits = wait_us(n, r, now) > 0, idle = n->full_us <= us_of(now);
    if (idle) {
        n->full_us = us_of(now);
        n->waited = false;
    }
    n->full_us += interval_us(r);
    const bool first = waits && !n->waited;
    n->waited = n->waited || waits;
    return first;
}
