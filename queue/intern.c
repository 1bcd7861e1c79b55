#include "queue/intern.h"
#include "queue/record.h"
#include "relay/base/must.h"
#include <assert.h>
#include <stdlib.h>

/* A struct verdict stands before the entry of its encoding, in the same allocation. */
struct interned {
    uint64_t hash;
    uint32_t refs, n;
    uint8_t bytes[];
};
static_assert(sizeof(struct verdict) % _Alignof(struct interned) == 0, "one behind the other");
static_assert(offsetof(struct interned, bytes) % 8 == 0, "structs may be interned");

enum { CAP_FIRST = 64 };

static struct verdict *verdict_of(const struct interned *e)
{
    return (struct verdict *)((uintptr_t)e - sizeof(struct verdict));
}

static struct interned *entry_of(const struct verdict *v)
{
    return (struct interned *)(uintptr_t)(v + 1);
}

static size_t before_entry(const struct intern *t)
{
    return t->verdicts ? sizeof(struct verdict) : 0;
}

static size_t entry_size(const struct intern *t, size_t n)
{
    return before_entry(t) + sizeof(struct interned) + n + 1;
}

static bool is_inside(const struct interned *e, const char *text)
{
    return (uintptr_t)text >= (uintptr_t)e->bytes &&
           (uintptr_t)text <= (uintptr_t)(e->bytes + e->n);
}

static void entry_free(struct intern *t, struct interned *e)
{
    t->entry_bytes -= must_bytes(entry_size(t, e->n));
    if (!t->verdicts) {
        free(e);
        return;
    }
    struct verdict *v = verdict_of(e);
    if (is_inside(e, v->text))
        v->text = NULL;
    verdict_done(v);
    free(v);
}

void intern_done(struct intern *t)
{
    for (size_t i = 0; i < t->cap; i++)
        if (t->slots[i])
            entry_free(t, t->slots[i]);
    free(t->slots);
    *t = (struct intern){0};
}

size_t intern_memory(const struct intern *t)
{
    return t->entry_bytes + (t->cap ? must_bytes(t->cap * sizeof(struct interned *)) : 0);
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
    struct intern bigger = *t;
    bigger.cap = t->cap ? t->cap * 2 : CAP_FIRST;
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

static struct interned *entry_new(struct intern *t, struct slice s, uint64_t hash)
{
    char *block = must_alloc(entry_size(t, s.n));
    struct interned *e = (struct interned *)(void *)(block + before_entry(t));
    e->hash = hash;
    e->n = (uint32_t)s.n;
    if (s.n)
        memcpy(e->bytes, s.p, s.n);
    t->entry_bytes += must_bytes(entry_size(t, s.n));
    return e;
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
        e = t->slots[at] = entry_new(t, s, hash);
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
    size_t at = e->hash & (t->cap - 1);
    while (t->slots[at] != e) {
        MUST(t->slots[at]);
        at = (at + 1) & (t->cap - 1);
    }
    slot_clear(t, at);
    entry_free(t, e);
}

const struct interned *intern_get(struct intern *t, struct slice s)
{
    return s.n ? entry_get(t, s) : NULL;
}

void intern_put(struct intern *t, const struct interned *e)
{
    if (e)
        entry_put(t, (struct interned *)(uintptr_t)e);
}

struct slice intern_text(const struct interned *e)
{
    return e ? slice_of(e->bytes, e->n) : SLICE_LIT("");
}

const struct interned *intern_of(const void *bytes)
{
    return (const struct interned *)((uintptr_t)bytes - offsetof(struct interned, bytes));
}

/* The text ends the encoding, and a NUL follows that: it need not be kept a second time. (What a
 * later version may have added behind it stays unread, and then the text stays apart.) */
static void share_text(const struct interned *e, struct verdict *v)
{
    size_t n = v->text ? strlen(v->text) : 0;
    const uint8_t *end = e->bytes + e->n - n;
    if (n == 0 || memcmp(end, v->text, n) != 0)
        return;
    free(v->text);
    v->text = (char *)(uintptr_t)end;
}

const struct verdict *intern_get_verdict(struct intern *t, struct slice encoded)
{
    if (encoded.n == 0)
        return NULL;
    t->verdicts = true;
    struct interned *e = entry_get(t, encoded);
    struct verdict *v = verdict_of(e);
    if (e->refs > 1)
        return v;
    if (!verdict_read(encoded, v)) {
        entry_put(t, e);
        return NULL;
    }
    share_text(e, v);
    return v;
}

void intern_put_verdict(struct intern *t, const struct verdict *v)
{
    if (v)
        entry_put(t, entry_of(v));
}

struct slice intern_encoding(const struct verdict *v)
{
    return v ? intern_text(entry_of(v)) : SLICE_LIT("");
}

const struct verdict *intern_verdict_at(const struct intern *t, size_t i, uint64_t *ret_hash,
                                        uint32_t *ret_refs)
{
    const struct interned *e = t->slots[i];
    if (!e || !t->verdicts)
        return NULL;
    *ret_hash = e->hash;
    *ret_refs = e->refs;
    return verdict_of(e);
}
