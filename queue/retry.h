/* When to try again: a sum over the list of pauses, with jitter. Pure. */
#pragma once
#include "relay/base/clock.h"
#include "relay/base/rand.h"

#define RETRY_STEPS_MAX 16

struct retry_policy {
    int64_t pause_s[RETRY_STEPS_MAX]; /* the last one repeats */
    unsigned n;                       /* >= 1 */
    unsigned jitter_percent;          /* 10 = ±10 % */
};

/* The next attempt after `attempts` (>= 1) failed ones, the last at now. Never before now + 1 s,
 * never further than twice the pause. */
struct wall retry_next(const struct retry_policy *p, uint32_t attempts, struct wall now,
                       struct rng *r);
/* A due time that the clock made absurd comes back into reach: twice the pause after so many
 * attempts; now, when there was none. */
struct wall retry_clamp(const struct retry_policy *p, uint32_t attempts, struct wall due,
                        struct wall now);
