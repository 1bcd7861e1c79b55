/*
 * Strings and verdicts that many messages share (senders, users, hosts, replies): kept once,
 * counted, freed with the last user. A small open-addressing table, because uthash would cost 56
 * bytes an entry. A table holds either strings or verdicts.
 */
#pragma once
#include "relay/base/slice.h"
#include "relay/base/verdict.h"

struct interned;
struct intern {
    struct interned **slots;
    size_t cap, n;
    size_t entry_bytes; /* of memory, all entries */
    bool verdicts;      /* what it holds: known from the first one on */
};

void intern_done(struct intern *t);
/* Bytes of memory that the table takes. */
size_t intern_memory(const struct intern *t);

/* The shared copy of s, one reference more; NULL for "". */
const struct interned *intern_get(struct intern *t, struct slice s);
/* One reference less (NULL is fine). */
void intern_put(struct intern *t, const struct interned *e);
/* Borrowed as long as e is referenced; at a multiple of 8, and a NUL follows. "" for NULL. */
struct slice intern_text(const struct interned *e);
/* The one that has these bytes: a slice's p from intern_text. */
const struct interned *intern_of(const void *bytes);

/* A verdict by its encoding; NULL when it does not decode. Given back by intern_put_verdict (NULL
 * is fine). */
const struct verdict *intern_get_verdict(struct intern *t, struct slice encoded);
void intern_put_verdict(struct intern *t, const struct verdict *v);
/* The encoding it was got by; "" for NULL. */
struct slice intern_encoding(const struct verdict *v);
/* For looking at all: the verdict in slot i < cap with its hash and its references; NULL: none. */
const struct verdict *intern_verdict_at(const struct intern *t, size_t i, uint64_t *ret_hash,
                                        uint32_t *ret_refs);
