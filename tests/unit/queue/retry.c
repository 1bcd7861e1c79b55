/* Retry times: a wrong sum hammers a receiver or leaves mail lying for days. */
#include "queue/retry.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct wall now = {INT64_C(1800000000) * WALL_SECOND};

/* Checklist 97: the list's pauses in order, the last one for ever, each with jitter. */
static void pauses_follow_the_list(void **state)
{
    (void)state;
    static const struct {
        uint32_t attempts;
        int64_t pause_s;
    } cases[] = {{1, 60}, {2, 300}, {3, 900}, {4, 900}, {5, 900}, {1000000, 900}};
    struct retry_policy p = {.pause_s = {60, 300, 900}, .n = 3, .jitter_percent = 10};
    struct rng r;
    rng_seed(&r, 7);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t pause = cases[i].pause_s * WALL_SECOND, low = INT64_MAX, high = 0;
        for (int round = 0; round < 2000; round++) {
            int64_t wait = retry_next(&p, cases[i].attempts, now, &r).us - now.us;
            assert_true(wait >= pause / 10 * 9 && wait <= pause / 10 * 11);
            low = wait < low ? wait : low;
            high = wait > high ? wait : high;
        }
        /* The whole width is used: or a crowd deferred together comes back together. */
        assert_true(low < pause / 100 * 92 && high > pause / 100 * 108);
    }
}

static void never_at_once_and_never_further_than_twice(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 1);
    struct retry_policy p = {.pause_s = {0, 1, INT64_MAX}, .n = 3, .jitter_percent = 100000};
    for (int round = 0; round < 2000; round++) {
        for (uint32_t attempts = 1; attempts <= 4; attempts++)
            assert_true(retry_next(&p, attempts, now, &r).us >= now.us + WALL_SECOND);
        assert_true(retry_next(&p, 2, now, &r).us <= now.us + 2 * WALL_SECOND);
    }
    p.jitter_percent = 0;
    assert_int_equal(retry_next(&p, 2, now, &r).us, now.us + WALL_SECOND);
}

/* Checklist 99: the clock stood in the future when the due time was written. */
static void absurd_due_times_come_back(void **state)
{
    (void)state;
    struct retry_policy p = {.pause_s = {60, 3600, 300}, .n = 3};
    struct wall reach = wall_add_s(now, 7200), near = wall_add_s(now, 7199);
    assert_int_equal(retry_clamp(&p, 2, near, now).us, near.us);
    assert_int_equal(retry_clamp(&p, 2, reach, now).us, reach.us);
    assert_int_equal(retry_clamp(&p, 2, wall_add_s(now, 86400), now).us, reach.us);
    assert_int_equal(retry_clamp(&p, 2, WALL_NEVER, now).us, reach.us);
    assert_int_equal(retry_clamp(&p, 2, (struct wall){0}, now).us, 0);
    assert_int_equal(retry_clamp(&p, 1, reach, now).us, wall_add_s(now, 120).us);
    assert_int_equal(retry_clamp(&p, 9, reach, now).us, wall_add_s(now, 600).us);
    assert_int_equal(retry_clamp(&p, 0, reach, now).us, now.us); /* the first attempt is now */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pauses_follow_the_list),
        cmocka_unit_test(never_at_once_and_never_further_than_twice),
        cmocka_unit_test(absurd_due_times_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
