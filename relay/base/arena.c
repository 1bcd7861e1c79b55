#include "relay/base/arena.h"
#include <stdalign.h>
#include <stdlib.h>

/* Under AddressSanitizer the free part of a block is poisoned, so that a use after arena_reset or
 * past the end of an allocation is found as it would be with malloc. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(ARENA_ASAN)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

enum { ALIGN = alignof(max_align_t), BLOCK_FIRST = 1024, BLOCK_LARGEST = 16384 };

struct arena_block {
    struct arena_block *next;
    size_t n, cap;
    alignas(ALIGN) uint8_t p[];
};

void arena_init(struct arena *a, size_t cap_bytes)
{
    *a = (struct arena){.cap = cap_bytes};
}

static void free_all(struct arena_block *b)
{
    while (b) {
        struct arena_block *next = b->next;
        ASAN_UNPOISON_MEMORY_REGION(b->p, b->cap);
        free(b);
        b = next;
    }
}

void arena_done(struct arena *a)
{
    free_all(a->head);
    arena_init(a, a->cap);
}

void arena_reset(struct arena *a)
{
    /* The oldest block is the smallest: a session that once held much must not hold it while idle.
     */
    struct arena_block *keep = NULL;
    while (a->head && a->head->next) {
        struct arena_block *b = a->head;
        a->head = b->next;
        b->next = NULL;
        free_all(b);
    }
    if (a->head && a->head->cap <= BLOCK_FIRST) {
        keep = a->head;
        keep->n = 0;
        ASAN_POISON_MEMORY_REGION(keep->p, keep->cap);
    } else {
        free_all(a->head);
    }
    a->head = keep;
    a->used = 0;
}

/* A block for n bytes at least, never larger than what the cap leaves. */
static struct arena_block *add_block(struct arena *a, size_t n)
{
    size_t cap = a->head ? a->head->cap * 2 : BLOCK_FIRST;
    if (cap > BLOCK_LARGEST)
        cap = BLOCK_LARGEST;
    if (cap > a->cap - a->used)
        cap = a->cap - a->used;
    if (cap < n)
        cap = n;
    struct arena_block *b = malloc(sizeof *b + cap);
    if (!b)
        return NULL;
    b->next = a->head;
    b->n = 0;
    b->cap = cap;
    ASAN_POISON_MEMORY_REGION(b->p, cap);
    a->head = b;
    return b;
}

void *arena_alloc(struct arena *a, size_t n)
{
    if (n > a->cap - a->used)
        return NULL;
    size_t rounded = n ? (n + ALIGN - 1) / ALIGN * ALIGN : ALIGN;
    if (rounded > a->cap - a->used)
        return NULL;
    struct arena_block *b = a->head;
    if (!b || rounded > b->cap - b->n)
        b = add_block(a, rounded);
    if (!b)
        return NULL;
    void *p = b->p + b->n;
    b->n += rounded;
    a->used += rounded;
    ASAN_UNPOISON_MEMORY_REGION(p, n);
    return memset(p, 0, n);
}

struct slice arena_dup(struct arena *a, struct slice s)
{
    uint8_t *p = s.n < SIZE_MAX ? arena_alloc(a, s.n + 1) : NULL;
    if (!p)
        return SLICE_NONE;
    if (s.n)
        memcpy(p, s.p, s.n);
    return slice_of(p, s.n);
}
