/*
 * What this loop has learnt of receivers' addresses, so that it need not be learnt again by each
 * connection. Bounded: at most ADDRESSES_MAX are remembered, and the one that was noted first goes;
 * what is forgotten costs another try, nothing else.
 */
#include "relay/base/must.h"
#include "relay/outbound/private.h"
#include <netinet/in.h>
#include <stdlib.h>

#define ADDRESSES_MAX 1000

/* Zeroed before it is filled, so that it can be compared whole. */
struct key {
    uint8_t ip[16];
    uint16_t family, port;
    uint32_t scope;
};

struct out_memory {
    struct key key;
    struct mono until[OUT_LESSONS]; /* 0: nothing was learnt */
    UT_hash_handle hh;
};

static struct key key_of(const struct sockaddr_storage *a)
{
    struct key k = {.family = a->ss_family};
    if (a->ss_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)a;
        memcpy(k.ip, &six->sin6_addr, 16);
        k.port = six->sin6_port;
        k.scope = six->sin6_scope_id;
    } else {
        const struct sockaddr_in *four = (const struct sockaddr_in *)a;
        memcpy(k.ip, &four->sin_addr, 4);
        k.port = four->sin_port;
    }
    return k;
}

static struct out_memory *find(const struct outbound *o, const struct sockaddr_storage *a)
{
    struct out_memory *m;
    struct key k = key_of(a);
    HASH_FIND(hh, o->memory, &k, sizeof k, m);
    return m;
}

static void forget(struct outbound *o, struct out_memory *m)
{
    HASH_DEL(o->memory, m); /* NOLINT(clang-analyzer-core.NullDereference) it is in there */
    free(m);
}

void out_learn(struct outbound *o, const struct sockaddr_storage *a, enum out_lesson l,
               struct mono until)
{
    struct out_memory *m = find(o, a);
    if (!m) {
        if (HASH_COUNT(o->memory) >= ADDRESSES_MAX)
            forget(o, o->memory);
        m = must_alloc(sizeof *m);
        m->key = key_of(a);
        HASH_ADD(hh, o->memory, key, sizeof m->key, m);
    }
    m->until[l] = until;
}

void out_unlearn(struct outbound *o, const struct sockaddr_storage *a, enum out_lesson l)
{
    struct out_memory *m = find(o, a);
    if (m)
        m->until[l] = (struct mono){0};
}

bool out_has_learnt(const struct outbound *o, const struct sockaddr_storage *a, enum out_lesson l,
                    struct mono now)
{
    const struct out_memory *m = find(o, a);
    return m && m->until[l].ms != 0 && !mono_reached(m->until[l], now);
}

void out_memory_free(struct outbound *o)
{
    while (o->memory)
        forget(o, o->memory);
}
