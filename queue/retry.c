#include "queue/retry.h"
#include "relay/base/must.h"

/* A pause longer than ten years is a typing error; the bound keeps the sums below far from
 * overflow. */
#define PAUSE_MAX_S (INT64_C(10) * 366 * 24 * 3600)

static int64_t pause_us(const struct retry_policy *p, unsigned step)
{
    int64_t s = p->pause_s[step];
    if (s < 1)
        s = 1;
    return (s < PAUSE_MAX_S ? s : PAUSE_MAX_S) * WALL_SECOND;
}

static unsigned pause_step(const struct retry_policy *p, uint32_t attempts)
{
    return attempts < p->n ? attempts - 1 : p->n - 1;
}

struct wall retry_next(const struct retry_policy *p, uint32_t attempts, struct wall now,
                       struct rng *r)
{
    MUST(p->n >= 1 && p->n <= RETRY_STEPS_MAX && attempts >= 1);
    int64_t pause = pause_us(p, pause_step(p, attempts));
    int64_t percent = p->jitter_percent < 100 ? (int64_t)p->jitter_percent : 100;
    int64_t span = pause / 100 * percent;
    int64_t shift = (int64_t)rng_below(r, (uint64_t)span * 2 + 1) - span;
    int64_t wait = pause + shift;
    return (struct wall){now.us + (wait < WALL_SECOND ? WALL_SECOND : wait)};
}

struct wall retry_clamp(const struct retry_policy *p, uint32_t attempts, struct wall due,
                        struct wall now)
{
    int64_t reach = attempts ? 2 * pause_us(p, pause_step(p, attempts)) : 0;
    struct wall limit = {now.us + reach};
    return due.us > limit.us ? limit : due;
}
