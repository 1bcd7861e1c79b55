#include "queue/heap.h"
#include "relay/base/must.h"
#include <stdlib.h>

enum { CAP_FIRST = 64 };

void heap_done(struct heap *h)
{
    free(h->entries);
    *h = (struct heap){0};
}

static void put(struct heap *h, size_t at, struct heap_entry e)
{
    h->entries[at] = e;
    *e.index = (uint32_t)(at + 1);
}

static size_t rise(struct heap *h, size_t at, struct heap_entry e)
{
    while (at > 0 && e.key < h->entries[(at - 1) / 2].key) {
        put(h, at, h->entries[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    return at;
}

static size_t sink(struct heap *h, size_t at, struct heap_entry e)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= h->n)
            return at;
        if (child + 1 < h->n && h->entries[child + 1].key < h->entries[child].key)
            child++;
        if (h->entries[child].key >= e.key)
            return at;
        put(h, at, h->entries[child]);
        at = child;
    }
}

static void settle(struct heap *h, size_t at, struct heap_entry e)
{
    at = rise(h, at, e);
    put(h, sink(h, at, e), e);
}

void heap_set(struct heap *h, uint32_t *index, int64_t key)
{
    if (*index == 0) {
        if (h->n == h->cap) {
            h->cap = h->cap ? h->cap + h->cap / 4 : CAP_FIRST;
            h->entries = must_realloc(h->entries, h->cap * sizeof *h->entries);
        }
        MUST(h->n < UINT32_MAX);
        *index = (uint32_t)++h->n;
    }
    MUST(*index <= h->n);
    settle(h, *index - 1, (struct heap_entry){key, index});
}

void heap_drop(struct heap *h, uint32_t *index)
{
    if (*index == 0)
        return;
    MUST(*index <= h->n && (h->entries[*index - 1].index == index));
    size_t at = *index - 1;
    *index = 0;
    struct heap_entry last = h->entries[--h->n];
    if (at < h->n)
        settle(h, at, last);
}

size_t heap_memory(const struct heap *h)
{
    return h->cap ? must_bytes(h->cap * sizeof *h->entries) : 0;
}
