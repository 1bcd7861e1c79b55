#include "dns/cache.h"
#include "dns/key.h"
#include <stdlib.h>

struct entry {
    struct dns_key key;
    struct dns_answer *answer;
    struct mono until;
    size_t bytes;
    UT_hash_handle hh; /* the table keeps the order of adding: first = used longest ago */
};

struct dns_cache {
    struct entry *entries;
    size_t max_entries, max_bytes, bytes;
};

struct dns_cache *dns_cache_new(size_t max_entries, size_t max_bytes)
{
    struct dns_cache *c = must_alloc(sizeof *c);
    c->max_entries = max_entries;
    c->max_bytes = max_bytes;
    return c;
}

static struct entry *find(struct dns_cache *c, const struct dns_key *key)
{
    struct entry *e;
    HASH_FIND(hh, c->entries, key, dns_key_len(key), e);
    return e;
}

static void drop(struct dns_cache *c, struct entry *e)
{
    HASH_DEL(c->entries, e);
    c->bytes -= e->bytes;
    dns_answer_unref(e->answer);
    free(e);
}

void dns_cache_flush(struct dns_cache *c)
{
    while (c->entries)
        drop(c, c->entries);
}

void dns_cache_free(struct dns_cache *c)
{
    if (!c)
        return;
    dns_cache_flush(c);
    free(c);
}

static void add_last(struct dns_cache *c, struct entry *e)
{
    HASH_ADD_KEYPTR(hh, c->entries, &e->key, dns_key_len(&e->key), e);
}

struct dns_answer *dns_cache_find(struct dns_cache *c, const char *name, enum dns_type type,
                                  struct mono now)
{
    struct dns_key key = dns_key_of(name, type);
    struct entry *e = find(c, &key);
    if (!e)
        return NULL;
    if (mono_reached(e->until, now)) {
        drop(c, e);
        return NULL;
    }
    HASH_DEL(c->entries, e);
    add_last(c, e);
    return dns_answer_with_ttl(e->answer, (uint32_t)((e->until.ms - now.ms + 999) / 1000));
}

static size_t bytes_of(const struct dns_answer *a)
{
    size_t each = a->mx ? sizeof *a->mx : sizeof *a->ip;
    return sizeof(struct entry) + sizeof *a + a->n * each;
}

void dns_cache_put(struct dns_cache *c, const char *name, struct dns_answer *a, struct mono now)
{
    struct dns_key key = dns_key_of(name, a->type);
    struct entry *old = find(c, &key);
    if (old)
        drop(c, old);
    size_t bytes = bytes_of(a);
    if (a->ttl_s == 0 || bytes > c->max_bytes || c->max_entries == 0)
        return;
    while (c->entries &&
           (HASH_COUNT(c->entries) >= c->max_entries || bytes > c->max_bytes - c->bytes))
        drop(c, c->entries);
    struct entry *e = must_alloc(sizeof *e);
    *e = (struct entry){.key = key,
                        .answer = dns_answer_ref(a),
                        .until = mono_add(now, (int64_t)a->ttl_s * 1000),
                        .bytes = bytes};
    c->bytes += bytes;
    add_last(c, e);
}

size_t dns_cache_count(const struct dns_cache *c)
{
    return HASH_COUNT(c->entries);
}
