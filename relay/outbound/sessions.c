#include "relay/outbound/sessions.h"
#include "relay/base/must.h"
#include <stdlib.h>
#include <uthash.h>

struct item {
    struct out_session s;
    struct mono until;
};

struct entry {
    struct item items[OUT_SESSIONS_PER_KEY]; /* the newest last */
    size_t n;
    UT_hash_handle hh;
    size_t key_size;
    uint8_t key[];
};

struct out_sessions {
    struct entry *entries; /* those that were asked for last are last */
    size_t n;              /* sessions */
    int64_t most_ms;
};

struct out_sessions *out_sessions_new(int64_t most_ms)
{
    struct out_sessions *c = must_alloc(sizeof *c);
    c->most_ms = most_ms;
    return c;
}

void out_sessions_free(struct out_sessions *c)
{
    if (c)
        out_sessions_forget_all(c);
    free(c);
}

size_t out_sessions_count(const struct out_sessions *c)
{
    return c->n;
}

static struct entry *find(const struct out_sessions *c, struct slice key)
{
    struct entry *e;
    HASH_FIND(hh, c->entries, key.p, key.n, e);
    return e;
}

static void drop_entry(struct out_sessions *c, struct entry *e)
{
    for (size_t i = 0; i < e->n; i++)
        tls_session_unref(e->items[i].s.tls);
    c->n -= e->n;
    HASH_DEL(c->entries, e); /* NOLINT(clang-analyzer-core.NullDereference) it is in there */
    free(e);
}

static void drop_oldest(struct out_sessions *c, struct entry *e)
{
    tls_session_unref(e->items[0].s.tls);
    memmove(e->items, e->items + 1, --e->n * sizeof *e->items);
    c->n--;
}

/* Behind all others: it is needed. */
static void move_back(struct out_sessions *c, struct entry *e)
{
    HASH_DEL(c->entries, e); /* NOLINT(clang-analyzer-core.NullDereference) it is in there */
    HASH_ADD_KEYPTR(hh, c->entries, e->key, e->key_size, e);
}

static struct entry *make(struct out_sessions *c, struct slice key)
{
    struct entry *e = must_alloc(sizeof *e + key.n);
    memcpy(e->key, key.p, key.n);
    e->key_size = key.n;
    HASH_ADD_KEYPTR(hh, c->entries, e->key, e->key_size, e);
    return e;
}

void out_sessions_put(struct out_sessions *c, struct slice key, struct out_session s,
                      struct mono now)
{
    if (!s.tls)
        return;
    struct mono until =
        mono_min(mono_add(now, tls_session_lifetime_s(s.tls) * 1000), mono_add(s.full, c->most_ms));
    if (mono_reached(until, now)) {
        tls_session_unref(s.tls);
        return;
    }
    struct entry *e = find(c, key);
    if (e)
        move_back(c, e);
    else
        e = make(c, key);
    if (e->n == OUT_SESSIONS_PER_KEY)
        drop_oldest(c, e);
    e->items[e->n++] = (struct item){.s = s, .until = until};
    if (++c->n > OUT_SESSIONS_MAX)
        drop_entry(c, c->entries); /* never e, which has at most a part of them */
}

struct out_session out_sessions_get(struct out_sessions *c, struct slice key, struct mono now)
{
    struct out_session ret = {0};
    struct entry *e = find(c, key);
    while (e && e->n > 0 && !ret.tls) {
        struct item *newest = &e->items[e->n - 1];
        bool good = !mono_reached(newest->until, now);
        if (good)
            ret = (struct out_session){tls_session_ref(newest->s.tls), newest->s.full};
        if (!good || tls_session_once(newest->s.tls)) {
            tls_session_unref(newest->s.tls);
            e->n--;
            c->n--;
        }
    }
    if (e && e->n == 0)
        drop_entry(c, e);
    else if (e)
        move_back(c, e);
    return ret;
}

void out_sessions_forget(struct out_sessions *c, struct slice key)
{
    struct entry *e = find(c, key);
    if (e)
        drop_entry(c, e);
}

void out_sessions_forget_all(struct out_sessions *c)
{
    while (c->entries)
        drop_entry(c, c->entries);
}
