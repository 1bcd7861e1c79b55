#include "relay/inbound/turns.h"
#include "relay/base/must.h"
#include <stdlib.h>
/* Keyed: addresses are chosen by others. */
#define HASH_FUNCTION(key, length, ret_hash)                                                       \
    ((ret_hash) = (unsigned)slice_hash(slice_of((key), (length))))
#include <uthash.h>
#include <utlist.h>
#include <uv.h>

/* The turns of one client, in order. */
struct line {
    UT_hash_handle hh;
    struct clients_key client;
    struct turn *first, *last;
    unsigned n;
    struct line *prev, *next; /* whose turn is next is the first */
};

struct turns {
    uv_mutex_t lock;
    struct line *by_client, *lines;
    unsigned n;
};

struct turns *turns_new(void)
{
    struct turns *t = must_alloc(sizeof *t);
    MUST(uv_mutex_init(&t->lock) == 0);
    return t;
}

void turns_free(struct turns *t)
{
    MUST(t->n == 0);
    uv_mutex_destroy(&t->lock);
    free(t);
}

static struct line *line_of(struct turns *t, const struct clients_key *client)
{
    struct line *l = NULL;
    HASH_FIND(hh, t->by_client, client, sizeof *client, l);
    if (l)
        return l;
    l = must_alloc(sizeof *l);
    l->client = *client;
    HASH_ADD(hh, t->by_client, client, sizeof l->client, l);
    DL_APPEND(t->lines, l);
    return l;
}

bool turns_push(struct turns *t, struct turn *one, bool many)
{
    uv_mutex_lock(&t->lock);
    struct line *l = t->n < TURNS_MAX ? line_of(t, &one->client) : NULL;
    const bool room = l && (many || l->n < TURNS_MAX_CLIENT);
    if (room) {
        one->next = NULL;
        *(l->first ? &l->last->next : &l->first) = one;
        l->last = one;
        l->n++;
        t->n++;
    }
    uv_mutex_unlock(&t->lock);
    return room;
}

/* Its first turn; then the line goes behind the others, or away. */
static struct turn *take(struct turns *t, struct line *l)
{
    struct turn *one = l->first;
    l->first = one->next;
    l->n--;
    t->n--;
    DL_DELETE(t->lines, l);
    if (l->first) {
        DL_APPEND(t->lines, l);
    } else {
        HASH_DEL(t->by_client, l);
        free(l);
    }
    return one;
}

struct turn *turns_pop(struct turns *t)
{
    uv_mutex_lock(&t->lock);
    struct turn *one = t->lines ? take(t, t->lines) : NULL;
    uv_mutex_unlock(&t->lock);
    return one;
}
