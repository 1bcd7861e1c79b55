/*
 * Two kinds of time that C does not let you mix. Monotonic milliseconds are for timeouts inside
 * this process; wall microseconds since 1970 UTC are for retries and records. Only clock.c and the
 * loops read a clock; everything else is handed the time.
 */
#pragma once
#include "relay/base/slice.h"

struct mono {
    int64_t ms;
};
struct wall {
    int64_t us;
};

#define MONO_NEVER ((struct mono){INT64_MAX})
#define WALL_NEVER ((struct wall){INT64_MAX})
#define WALL_SECOND INT64_C(1000000)

struct mono mono_now(void);
struct wall wall_now(void);

static inline struct mono mono_add(struct mono t, int64_t ms)
{
    return (struct mono){t.ms + ms};
}
static inline bool mono_reached(struct mono deadline, struct mono now)
{
    return now.ms >= deadline.ms;
}
static inline struct mono mono_min(struct mono a, struct mono b)
{
    return a.ms < b.ms ? a : b;
}
static inline struct wall wall_add_s(struct wall t, int64_t seconds)
{
    return (struct wall){t.us + seconds * WALL_SECOND};
}

#define WALL_RFC3339_SIZE 28
#define WALL_RFC5322_SIZE 40
/* "2026-11-22T23:55:52.123456Z"; NUL-terminated. */
void wall_rfc3339(struct wall t, char ret_text[WALL_RFC3339_SIZE]);
/* "2026-11-22T23:55:52Z", with a fraction of a second, or with an offset such as "+01:00" in place
 * of the Z (RFC 3339 section 5.6); all of s. False: it is none, or not of the years 1970 to 9999.
 */
bool wall_parse_rfc3339(struct slice s, struct wall *ret);
/* "Sun, 22 Nov 2026 23:55:52 +0000" (RFC 5322 section 3.3, always UTC). */
void wall_rfc5322(struct wall t, char ret_text[WALL_RFC5322_SIZE]);
