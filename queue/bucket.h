/*
 * A token bucket that keeps its word in any period: of a rate of n in per_ms never more than n go
 * in any stretch of per_ms, wherever it begins. A twentieth of n (one at least) may go at once, the
 * rest follow evenly. Pure: the time is handed in.
 *
 * It is the generic cell rate algorithm (ITU-T I.371): one number, the moment at which the bucket
 * will be full again.
 */
#pragma once
#include "relay/base/clock.h"

struct bucket {
    int64_t full_us; /* on the monotonic clock; 0: full */
};

/* When the next one may go, rounded up to what the clock can say; n >= 1, per_ms >= 1. */
struct mono bucket_next(const struct bucket *b, unsigned n, int64_t per_ms);
/* One goes now; the caller has waited for bucket_next. */
void bucket_take(struct bucket *b, unsigned n, int64_t per_ms, struct mono now);
