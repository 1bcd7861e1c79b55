#include "queue/intern.h"
#include "queue/record.h"
#include "relay/base/must.h"
#include <stdlib.h>

struct shared_verdict {
    struct verdict verdict; /* first: users hold this pointer */
    struct interned *owner;
};

struct interned {
    uint64_t hash;
    uint32_t refs, n;
    struct shared_verdict *verdict; /* NULL: a string */
    uint8_t bytes[];
};

enum { CAP_FIRST = 64 };

static void entry_free(struct interned *e)
{
    if (e->verdict)
        verdict_done(&e->verdict->verdict);
    free(e->verdict);
    free(e);
}

void intern_done(struct intern *t)
{
    for (size_t i = 0; i < t->cap; i++)
        if (t->slots[i])
            entry_free(t->slots[i]);
    free(t->slots);
    *t = (struct intern){0};
}

/* Where s is, or the empty slot where it would go. Strings and verdicts never meet: each has a
 * table of its own. */
static size_t slot_of(const struct intern *t, struct slice s, uint64_t hash)
{
    size_t i = hash & (t->cap - 1);
    for (; t->slots[i]; i = (i + 1) & (t->cap - 1))
        if (t->slots[i]->hash == hash && slice_eq(slice_of(t->slots[i]->bytes, t->slots[i]->n), s))
            break;
    return i;
}

static void grow(struct intern *t)
{
    struct intern bigger = {.cap = t->cap ? t->cap * 2 : CAP_FIRST, .n = t->n};
    bigger.slots = must_alloc(bigger.cap * sizeof *bigger.slots);
    for (size_t i = 0; i < t->cap; i++) {
        struct interned *e = t->slots[i];
        if (!e)
            continue;
        size_t at = e->hash & (bigger.cap - 1);
        while (bigger.slots[at])
            at = (at + 1) & (bigger.cap - 1);
        bigger.slots[at] = e;
    }
    free(t->slots);
    *t = bigger;
}

static struct interned *entry_get(struct intern *t, struct slice s)
{
    MUST(s.n <= UINT32_MAX);
    if ((t->n + 1) * 4 > t->cap * 3)
        grow(t);
    uint64_t hash = slice_hash(s);
    size_t at = slot_of(t, s, hash);
    struct interned *e = t->slots[at];
    if (!e) {
        e = must_alloc(sizeof *e + s.n + 1);
        e->hash = hash;
        e->n = (uint32_t)s.n;
        memcpy(e->bytes, s.p, s.n);
        t->slots[at] = e;
        t->n++;
    }
    e->refs++;
    return e;
}

/* Linear probing without tombstones: what follows moves up unless it already stands at or behind
 * its own slot. */
static void slot_clear(struct intern *t, size_t at)
{
    size_t mask = t->cap - 1;
    for (size_t i = (at + 1) & mask; t->slots[i]; i = (i + 1) & mask) {
        size_t home = t->slots[i]->hash & mask;
        if (((i - home) & mask) < ((i - at) & mask))
            continue;
        t->slots[at] = t->slots[i];
        at = i;
    }
    t->slots[at] = NULL;
    t->n--;
}

static void entry_put(struct intern *t, struct interned *e)
{
    MUST(e->refs > 0);
    if (--e->refs > 0)
        return;
    size_t at = slot_of(t, slice_of(e->bytes, e->n), e->hash);
    MUST(t->slots[at] == e);
    slot_clear(t, at);
    entry_free(e);
}

struct slice intern_get(struct intern *t, struct slice s)
{
    if (s.n == 0)
        return SLICE_LIT("");
    struct interned *e = entry_get(t, s);
    return slice_of(e->bytes, e->n);
}

void intern_put(struct intern *t, struct slice s)
{
    if (s.n == 0)
        return;
    entry_put(t, (struct interned *)((uintptr_t)s.p - offsetof(struct interned, bytes)));
}

const struct verdict *intern_get_verdict(struct intern *t, struct slice encoded)
{
    if (encoded.n == 0)
        return NULL;
    struct interned *e = entry_get(t, encoded);
    if (e->verdict)
        return &e->verdict->verdict;
    struct verdict v;
    if (!verdict_read(encoded, &v)) {
        entry_put(t, e);
        return NULL;
    }
    e->verdict = must_alloc(sizeof *e->verdict);
    *e->verdict = (struct shared_verdict){.verdict = v, .owner = e};
    return &e->verdict->verdict;
}

static const struct shared_verdict *shared(const struct verdict *v)
{
    return (const struct shared_verdict *)(const void *)v;
}

void intern_put_verdict(struct intern *t, const struct verdict *v)
{
    if (v)
        entry_put(t, shared(v)->owner);
}

struct slice intern_encoding(const struct verdict *v)
{
    return slice_of(shared(v)->owner->bytes, shared(v)->owner->n);
}

const struct verdict *intern_verdict_at(const struct intern *t, size_t i, uint64_t *ret_hash,
                                        uint32_t *ret_refs)
{
    const struct interned *e = t->slots[i];
    if (!e || !e->verdict)
        return NULL;
    *ret_hash = e->hash;
    *ret_refs = e->refs;
    return &e->verdict->verdict;
}
