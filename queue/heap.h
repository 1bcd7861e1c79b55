/*
 * Moments in order: a binary heap of (key, object), where the object keeps its own place, so that
 * it can be moved and taken out. Pure; O(log n) a call; 16 bytes an entry, and at most a quarter
 * more for room. The object embeds a `uint32_t` that is 0 while it is in no heap; HEAP_ITEM leads
 * back to it.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct heap_entry {
    int64_t key;
    uint32_t *index; /* in the object: its place here, counted from 1 */
};

struct heap {
    struct heap_entry *entries;
    size_t n, cap;
};

#define HEAP_ITEM(entry, type, member)                                                             \
    ((type *)(void *)((char *)(entry)->index - offsetof(type, member)))

void heap_done(struct heap *h);
/* Puts the object in, or moves it to another key. */
void heap_set(struct heap *h, uint32_t *index, int64_t key);
/* Takes it out; nothing happens when it is in no heap. */
void heap_drop(struct heap *h, uint32_t *index);
/* Bytes of memory that it takes. */
size_t heap_memory(const struct heap *h);
/* The smallest key, or NULL. Borrowed until the next change. */
static inline const struct heap_entry *heap_top(const struct heap *h)
{
    return h->n ? &h->entries[0] : NULL;
}
