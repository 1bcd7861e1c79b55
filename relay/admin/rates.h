/*
 * How fast things happen: counters noted every RATES_STEP_MS, and from two notes the mean of the
 * last 1, 5 and 15 minutes. Pure: time and counts come in. Bounds: 15 minutes of notes. Right after
 * the start the mean is that since the start.
 */
#pragma once
#include "relay/base/clock.h"

enum rate {
    RATE_ACCEPTED,
    RATE_DELIVERED,
    RATE_DEFERRED,
    RATE_BOUNCED,
    RATE_WAITED, /* for a socket; only for a warning */
    RATES
};
#define RATES_STEP_MS 5000
#define RATES_NOTES (15 * 60 * 1000 / RATES_STEP_MS + 1)

struct rates {
    struct rates_note {
        struct mono at;
        int64_t counts[RATES];
    } notes[RATES_NOTES];
    size_t n, next;
};

void rates_note(struct rates *r, struct mono now, const int64_t counts[RATES]);
/* A second, over the last so many minutes up to now, when the counter says `count`. */
double rates_of(const struct rates *r, enum rate which, int64_t count, struct mono now,
                int64_t minutes);
