/* The buckets of users: as many recipients as the rate says and no more, whatever happens to the
 * users file meanwhile. Time is handed in. */
#include "relay/inbound/rates.h"
#include "relay/base/rand.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct user_rate hourly = {.recipients = 6, .burst = 10, .period_ms = 3600000};

static struct mono at(int64_t ms)
{
    return (struct mono){ms};
}

static void a_burst_and_then_the_rate(void **state)
{
    (void)state;
    struct rates *r = rates_new();
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(rates_take(r, "u", &hourly, 1, at(1000)), 0);
    assert_int_equal(rates_take(r, "u", &hourly, 0, at(1000)), 600); /* looking takes nothing */
    assert_int_equal(rates_take(r, "u", &hourly, 1, at(1000)), 600);
    assert_int_equal(rates_take(r, "u", &hourly, 2, at(1000)), 1200);
    assert_int_equal(rates_take(r, "u", &hourly, 1, at(600999)), 1);
    assert_int_equal(rates_take(r, "u", &hourly, 1, at(601000)), 0);
    assert_int_equal(rates_take(r, "u", &hourly, 1, at(601000)), 600);
    assert_int_equal(rates_take(r, "v", &hourly, 10, at(601000)), 0); /* everyone has his own */
    /* After days it holds a burst, not days. */
    assert_int_equal(rates_take(r, "u", &hourly, 11, at(900000000)), 600);
    assert_int_equal(rates_take(r, "u", &hourly, 10, at(900000000)), 0);
    rates_free(r);
}

/* A new measure keeps what was spent: nobody gets a new burst by an edit of the file. */
static void the_file_changes(void **state)
{
    (void)state;
    const struct user_rate more = {.recipients = 100, .burst = 100, .period_ms = 1000};
    const struct user_rate less = {.recipients = 1, .burst = 2, .period_ms = 60000};
    struct rates *r = rates_new();
    assert_int_equal(rates_take(r, "u", &hourly, 9, at(0)), 0);
    assert_int_equal(rates_take(r, "u", &more, 2, at(0)), 1);
    assert_int_equal(rates_take(r, "u", &more, 1, at(0)), 0);
    assert_int_equal(rates_take(r, "u", &more, 100, at(999)), 1);
    assert_int_equal(rates_take(r, "u", &more, 100, at(1000)), 0);
    assert_int_equal(rates_take(r, "u", &more, 0, at(2000)), 0); /* full: 100 */
    assert_int_equal(rates_take(r, "u", &less, 2, at(2000)), 0); /* and no more than 2 of them */
    assert_int_equal(rates_take(r, "u", &less, 1, at(2000)), 60);
    rates_free(r);
}

/* Law: in any span no more than burst + rate × span, and never less than that for who keeps asking.
 */
static void the_law(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 7);
    for (unsigned round = 0; round < 200; round++) {
        const struct user_rate limit = {.recipients = 1 + rng_below(&rng, 1000),
                                        .burst = 1 + rng_below(&rng, 1000),
                                        .period_ms = (int64_t)(1000 + rng_below(&rng, 86399000))};
        struct rates *r = rates_new();
        uint64_t taken = 0;
        int64_t ms = 0;
        for (unsigned i = 0; i < 2000; i++) {
            ms += (int64_t)rng_below(&rng, 1000);
            unsigned n = 1 + (unsigned)rng_below(&rng, 3);
            int64_t wait_s = rates_take(r, "u", &limit, n, at(ms));
            if (wait_s == 0)
                taken += n;
            else if (n <= limit.burst) /* the time told is right */
                assert_true(wait_s >= 1 && wait_s <= limit.period_ms / 1000 * 3 + 1);
        }
        assert_true(taken <=
                    limit.burst + limit.recipients * (uint64_t)ms / (uint64_t)limit.period_ms);
        rates_free(r);
    }
}

/* Names come and go with the file; their buckets do, too. The number of full ones is bounded. */
static void many_users(void **state)
{
    (void)state;
    struct rates *r = rates_new();
    char name[32];
    for (unsigned i = 0; i < 20000; i++) {
        snprintf(name, sizeof name, "u%u", i);
        assert_int_equal(rates_take(r, name, &hourly, 10, at(i)), 0);
    }
    for (unsigned i = 0; i < 20000; i += 1000) { /* those in use are all still there */
        snprintf(name, sizeof name, "u%u", i);
        assert_true(rates_take(r, name, &hourly, 1, at(20000)) > 0);
    }
    rates_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_and_then_the_rate),
        cmocka_unit_test(the_file_changes),
        cmocka_unit_test(the_law),
        cmocka_unit_test(many_users),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
