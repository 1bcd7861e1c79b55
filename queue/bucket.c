#include "queue/bucket.h"

static int64_t depth_of(unsigned n)
{
    return n / 20 > 1 ? n / 20 : 1;
}

/* So that a burst and what follows it in the period are n together. Rounded up: never too many. */
static int64_t interval_us(unsigned n, int64_t per_ms)
{
    int64_t steps = (int64_t)n - depth_of(n) + 1;
    return (per_ms * 1000 + steps - 1) / steps;
}

struct mono bucket_next(const struct bucket *b, unsigned n, int64_t per_ms)
{
    int64_t at_us = b->full_us - (depth_of(n) - 1) * interval_us(n, per_ms);
    return (struct mono){at_us > 0 ? (at_us + 999) / 1000 : 0};
}

void bucket_take(struct bucket *b, unsigned n, int64_t per_ms, struct mono now)
{
    int64_t now_us = now.ms * 1000;
    b->full_us = (b->full_us > now_us ? b->full_us : now_us) + interval_us(n, per_ms);
}
