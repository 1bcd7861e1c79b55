/*
 * How often something may happen for a name: so many at once, then evenly. Who comes too early is
 * given a time, and has it to himself (the virtual scheduling of ITU-T I.371). Pure; time is handed
 * in. Owner: the core.
 *
 * Bounds: an entry (100 bytes and the name) for each name that is not idle; names whose hash is the
 * same share one. With LIMIT_NAMES_MAX of them all others share one more.
 */
#pragma once
#include "relay/base/clock.h"
#include "relay/base/slice.h"

#define LIMIT_NAMES_MAX 100000

struct limit_rate { /* n in each per_ms, which may come at once; n 0: no limit */
    unsigned n;
    int64_t per_ms;
};

struct limit;
struct limit *limit_new(void);
void limit_free(struct limit *l); /* NULL is allowed */

/* In how many ms it may happen (0: now), when it happens one more time; takes nothing. */
int64_t limit_look(struct limit *l, struct slice name, const struct limit_rate *r, struct mono now);
/* It is going to happen then. True: the name had to wait for the first time since it was idle. */
bool limit_take(struct limit *l, struct slice name, const struct limit_rate *r, struct mono now);
