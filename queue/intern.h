/*
 * Strings and verdicts that many messages share (senders, users, hosts, replies): kept once,
 * counted, freed with the last user. A small open-addressing table, because uthash would cost 56
 * bytes an entry.
 */
#pragma once
#include "relay/base/slice.h"
#include "relay/base/verdict.h"

struct interned;
struct intern {
    struct interned **slots;
    size_t cap, n;
};

void intern_done(struct intern *t);
/* The shared copy of s (a NUL follows it), one reference more. Empty stays empty and is not
 * counted. */
struct slice intern_get(struct intern *t, struct slice s);
/* One reference less; s came from intern_get. */
void intern_put(struct intern *t, struct slice s);
/* A verdict by its encoding; NULL when it does not decode. Given back by intern_put_verdict (NULL
 * is fine). */
const struct verdict *intern_get_verdict(struct intern *t, struct slice encoded);
void intern_put_verdict(struct intern *t, const struct verdict *v);
/* The encoding it was got by. */
struct slice intern_encoding(const struct verdict *v);
/* For looking at all: the verdict in slot i < cap with its hash and its references; NULL: none. */
const struct verdict *intern_verdict_at(const struct intern *t, size_t i, uint64_t *ret_hash,
                                        uint32_t *ret_refs);
