#include "queue/index.h"
#include "relay/base/must.h"
#include <stdlib.h>

enum { CHUNK_MAX = 512, CHUNK_MERGE = CHUNK_MAX / 4 };

struct index_chunk {
    size_t n;
    struct {
        uint64_t id;
        struct message *message;
    } at[CHUNK_MAX];
};

void index_done(struct index *x)
{
    for (size_t i = 0; i < x->n_chunks; i++)
        free(x->chunks[i]);
    free(x->chunks);
    *x = (struct index){0};
}

/* The last chunk whose first id is <= id; 0 when there is none. */
static size_t chunk_for(const struct index *x, uint64_t id)
{
    size_t low = 0, high = x->n_chunks;
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        if (x->chunks[mid]->at[0].id <= id)
            low = mid;
        else
            high = mid;
    }
    return low;
}

/* The first place in c whose id is >= id. */
static size_t place_in(const struct index_chunk *c, uint64_t id)
{
    size_t low = 0, high = c->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (c->at[mid].id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct message *index_find(const struct index *x, uint64_t id)
{
    if (x->n_chunks == 0)
        return NULL;
    const struct index_chunk *c = x->chunks[chunk_for(x, id)];
    size_t i = place_in(c, id);
    return i < c->n && c->at[i].id == id ? c->at[i].message : NULL;
}

struct message *index_after(const struct index *x, uint64_t after)
{
    if (x->n_chunks == 0 || after == UINT64_MAX)
        return NULL;
    size_t at = chunk_for(x, after + 1);
    size_t i = place_in(x->chunks[at], after + 1);
    if (i < x->chunks[at]->n)
        return x->chunks[at]->at[i].message;
    return at + 1 < x->n_chunks ? x->chunks[at + 1]->at[0].message : NULL;
}

uint64_t index_rank(const struct index *x, uint64_t id)
{
    if (x->n_chunks == 0)
        return 0;
    size_t at = chunk_for(x, id);
    uint64_t n = place_in(x->chunks[at], id);
    for (size_t i = 0; i < at; i++)
        n += x->chunks[i]->n;
    return n;
}

size_t index_memory(const struct index *x)
{
    return x->n_chunks * must_bytes(sizeof(struct index_chunk)) +
           (x->cap ? must_bytes(x->cap * sizeof(struct index_chunk *)) : 0);
}

static struct index_chunk *chunk_insert(struct index *x, size_t at)
{
    if (x->n_chunks == x->cap) {
        x->cap = x->cap ? x->cap * 2 : 16;
        x->chunks = must_realloc(x->chunks, x->cap * sizeof(struct index_chunk *));
    }
    memmove(x->chunks + at + 1, x->chunks + at, (x->n_chunks - at) * sizeof(struct index_chunk *));
    x->n_chunks++;
    return x->chunks[at] = must_alloc(sizeof(struct index_chunk));
}

static void chunk_erase(struct index *x, size_t at)
{
    free(x->chunks[at]);
    x->n_chunks--;
    memmove(x->chunks + at, x->chunks + at + 1, (x->n_chunks - at) * sizeof(struct index_chunk *));
}

/* Makes room when full: growing ids get a fresh chunk behind (full ones stay full), others split in
 * the middle. */
static struct index_chunk *with_room(struct index *x, uint64_t id)
{
    if (x->n_chunks == 0)
        return chunk_insert(x, 0);
    size_t at = chunk_for(x, id);
    struct index_chunk *c = x->chunks[at];
    if (c->n < CHUNK_MAX)
        return c;
    struct index_chunk *next = chunk_insert(x, at + 1);
    if (id > c->at[c->n - 1].id)
        return next;
    size_t half = c->n / 2;
    next->n = c->n - half;
    memcpy(next->at, c->at + half, next->n * sizeof c->at[0]);
    c->n = half;
    return id >= next->at[0].id ? next : c;
}

void index_add(struct index *x, struct message *m)
{
    struct index_chunk *c = with_room(x, m->id);
    size_t i = place_in(c, m->id);
    MUST(i == c->n || c->at[i].id != m->id);
    memmove(c->at + i + 1, c->at + i, (c->n - i) * sizeof c->at[0]);
    c->at[i].id = m->id;
    c->at[i].message = m;
    c->n++;
    x->n++;
}

void index_remove(struct index *x, uint64_t id)
{
    MUST(x->n_chunks > 0);
    size_t at = chunk_for(x, id);
    struct index_chunk *c = x->chunks[at];
    size_t i = place_in(c, id);
    MUST(i < c->n && c->at[i].id == id);
    c->n--;
    memmove(c->at + i, c->at + i + 1, (c->n - i) * sizeof c->at[0]);
    x->n--;
    if (c->n == 0) {
        chunk_erase(x, at);
    } else if (at > 0 && c->n + x->chunks[at - 1]->n <= CHUNK_MERGE) {
        struct index_chunk *before = x->chunks[at - 1];
        memcpy(before->at + before->n, c->at, c->n * sizeof c->at[0]);
        before->n += c->n;
        chunk_erase(x, at);
    }
}
