#include "queue/retry.h"
#include "relay/base/must.h"

/* A pause longer than ten years is a typing error; the bound keeps the sums below far from
 * overflow. */
#define PAUSE_MAX_S (INT64_C(10) * 366 * 24 * 3600)

static int64_t pause_us(const struct retry_policy *p, uint32_t attempts)
{
    int64_t s = p->pause_s[attempts < p->n ? attempts - 1 : p->n - 1];
    if (s < 1)
        s = 1;
    return (s < PAUSE_MAX_S ? s : PAUSE_MAX_S) * WALL_SECOND;
}

/* How far the next attempt may be away: a greylisted one skips a pause, so the one behind counts.
 */
static int64_t reach_us(const struct retry_policy *p, uint32_t attempts)
{
    int64_t one = pause_us(p, attempts), behind = pause_us(p, attempts + 1);
    return 2 * (one > behind ? one : behind);
}

static int64_t jitter_us(const struct retry_policy *p, int64_t pause)
{
    return pause / 100 * (p->jitter_percent < 100 ? (int64_t)p->jitter_percent : 100);
}

/* Later only: who names a time means it, and greylists forget who comes too early. */
static int64_t not_before(const struct retry_policy *p, int64_t pause, int64_t reach, struct rng *r)
{
    int64_t wait = pause + (int64_t)rng_below(r, (uint64_t)jitter_us(p, pause) + 1);
    return wait < reach ? wait : reach;
}

static int64_t around(const struct retry_policy *p, int64_t pause, struct rng *r)
{
    int64_t span = jitter_us(p, pause);
    int64_t wait = pause + (int64_t)rng_below(r, (uint64_t)span * 2 + 1) - span;
    return wait < WALL_SECOND ? WALL_SECOND : wait;
}

struct wall retry_next(const struct retry_policy *p, uint32_t attempts, struct retry_wish wish,
                       struct wall now, struct rng *r)
{
    MUST(p->n >= 1 && p->n <= RETRY_STEPS_MAX && attempts >= 1);
    int64_t pause = pause_us(p, attempts), reach = reach_us(p, attempts);
    int64_t wished = (wish.after_s < PAUSE_MAX_S ? wish.after_s : PAUSE_MAX_S) * WALL_SECOND;
    if (wished >= WALL_SECOND && wished >= pause / 10 && wished <= reach)
        return (struct wall){now.us + not_before(p, wished, reach, r)};
    if (wish.greylisted)
        return (struct wall){now.us + not_before(p, pause_us(p, attempts + 1), reach, r)};
    return (struct wall){now.us + around(p, pause, r)};
}

struct wall retry_clamp(const struct retry_policy *p, uint32_t attempts, struct wall due,
                        struct wall now)
{
    struct wall limit = {now.us + (attempts ? reach_us(p, attempts) : 0)};
    return due.us > limit.us ? limit : due;
}

void retry_widen(struct retry_policy *to, const struct retry_policy *p)
{
    unsigned n = to->n > p->n ? to->n : p->n;
    for (unsigned i = 0; i < n; i++) {
        int64_t a = pause_us(to, i + 1) / WALL_SECOND, b = pause_us(p, i + 1) / WALL_SECOND;
        to->pause_s[i] = a > b ? a : b;
    }
    to->n = n;
}
