/*
 * How many recipients each user has left: a bucket a name, as rate= and burst= in the users file
 * say. Shared by the loops, behind its own lock; a new users file changes the buckets' measures,
 * not what is in them. Time is handed in. A restart fills them.
 *
 * Bounds: a bucket for each user that has one and has sent lately; full ones are forgotten.
 */
#pragma once
#include "relay/base/clock.h"
#include "relay/conf/users.h"

struct rates;
struct rates *rates_new(void);
void rates_free(struct rates *r);
/* Takes n recipients (0: only looks whether there is one left). 0: done; else in how many seconds
 * it is worth another try (at least 1), and nothing is taken. */
int64_t rates_take(struct rates *r, const char *user, const struct user_rate *limit, unsigned n,
                   struct mono now);
