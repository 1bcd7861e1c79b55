/* When to try again: a sum over the list of pauses, with jitter; and what a receiver's words say of
 * it. Pure. */
#pragma once
#include "relay/base/clock.h"
#include "relay/base/rand.h"
#include "relay/base/slice.h"

#define RETRY_STEPS_MAX 16

struct retry_policy {
    int64_t pause_s[RETRY_STEPS_MAX]; /* the last one repeats */
    unsigned n;                       /* >= 1 */
    unsigned jitter_percent;          /* 10 = ±10 % */
};

/* What the attempt's reply asks for. */
struct retry_wish {
    bool greylisted; /* a first attempt was put off: the list's next pause at once, never less */
    int64_t after_s; /* the moment that it named, from now; 0: none */
};

/* The next attempt after `attempts` (>= 1) failed ones, the last at now. Never before now + 1 s,
 * never further than twice the pause, or the one behind it in the list. A wish that is named is
 * granted from a tenth of the pause up to that bound, and never shortened by jitter. */
struct wall retry_next(const struct retry_policy *p, uint32_t attempts, struct retry_wish wish,
                       struct wall now, struct rng *r);
/* A due time that the clock made absurd comes back into reach: twice the pause after so many
 * attempts, or twice the one behind it; now, when there was none. */
struct wall retry_clamp(const struct retry_policy *p, uint32_t attempts, struct wall due,
                        struct wall now);
/* For each step the longest pause that any of the policies has: what clamps mail whose way is not
 * known yet. `to` has one policy already. */
void retry_widen(struct retry_policy *to, const struct retry_policy *p);

/* "try again in 5 minutes", "come back in 00:04:57", "Greylisted for 300 seconds": so many seconds;
 * 0: the text names no time. */
int64_t retry_words(struct slice text);
