/* Rates: one message too many in a period, and the receiver blocks us. Promise 23. */
#include "queue/bucket.h"
#include "relay/base/rand.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { TAKES = 4000 };

static const struct {
    unsigned n;
    int64_t per_ms;
    unsigned at_once;
} rates[] = {
    {1, 1000, 1},     {1, 86400000, 1}, {3, 1000, 1},           {39, 1000, 1},
    {40, 1000, 2},    {50, 1000, 2},    {1000, 1000, 50},       {1000, 3600000, 50},
    {600, 60000, 30}, {7, 3600000, 1},  {1000000, 1000, 50000},
};

/* Whoever takes as early as he may, or pauses now and then: in no stretch of the period, wherever
 * it begins, are there more than n. */
static void never_more_in_any_period(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 3);
    static int64_t at[TAKES];
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        for (int lazy = 0; lazy < 2; lazy++) {
            struct bucket b = {0};
            struct mono now = {5000};
            for (size_t k = 0, first = 0; k < TAKES; k++) {
                struct mono next = bucket_next(&b, rates[i].n, rates[i].per_ms);
                now = next.ms > now.ms ? next : now;
                if (lazy && rng_below(&r, 50) == 0)
                    now.ms += (int64_t)rng_below(&r, (uint64_t)rates[i].per_ms * 2);
                bucket_take(&b, rates[i].n, rates[i].per_ms, now);
                at[k] = now.ms;
                while (at[first] <= now.ms - rates[i].per_ms)
                    first++;
                assert_true(k - first + 1 <= rates[i].n);
            }
        }
    }
}

/* The rate is used: nearly all of it in the long run, a twentieth at once after a rest. */
static void the_rate_is_used(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        struct bucket b = {0};
        struct mono now = {777};
        unsigned at_once = 0;
        while (mono_reached(bucket_next(&b, rates[i].n, rates[i].per_ms), now)) {
            bucket_take(&b, rates[i].n, rates[i].per_ms, now);
            at_once++;
        }
        assert_int_equal(at_once, rates[i].at_once);
        if (rates[i].n > 10000)
            continue; /* more than the clock's ticks */
        for (unsigned k = 0; k < 10 * rates[i].n; k++) {
            struct mono next = bucket_next(&b, rates[i].n, rates[i].per_ms);
            now = next.ms > now.ms ? next : now;
            bucket_take(&b, rates[i].n, rates[i].per_ms, now);
        }
        assert_true(now.ms - 777 <= rates[i].per_ms * 10 * 107 / 100 + 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_more_in_any_period),
        cmocka_unit_test(the_rate_is_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
