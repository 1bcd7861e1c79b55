/* Retry times: a wrong sum hammers a receiver or leaves mail lying for days. */
#include "queue/retry.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define NONE ((struct retry_wish){0})

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
            int64_t wait = retry_next(&p, cases[i].attempts, NONE, now, &r).us - now.us;
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
            assert_true(retry_next(&p, attempts, NONE, now, &r).us >= now.us + WALL_SECOND);
        assert_true(retry_next(&p, 2, NONE, now, &r).us <= now.us + 2 * WALL_SECOND);
    }
    p.jitter_percent = 0;
    assert_int_equal(retry_next(&p, 2, NONE, now, &r).us, now.us + WALL_SECOND);
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
    /* The one behind counts, too: a greylisted first attempt skips one. */
    assert_int_equal(retry_clamp(&p, 1, wall_add_s(now, 7201), now).us, reach.us);
    assert_int_equal(retry_clamp(&p, 9, reach, now).us, wall_add_s(now, 600).us);
    assert_int_equal(retry_clamp(&p, 0, reach, now).us, now.us); /* the first attempt is now */
}

/* Checklist 77: a greylisted first attempt is followed by the second pause, five minutes by
 * default, and never before it is over: greylists count from the first one, to the second. */
static void greylisted_skips_a_pause(void **state)
{
    (void)state;
    struct retry_policy p = {.pause_s = {60, 300, 900}, .n = 3, .jitter_percent = 10};
    struct retry_policy single = {.pause_s = {2}, .n = 1, .jitter_percent = 10};
    struct rng r;
    rng_seed(&r, 5);
    for (int round = 0; round < 2000; round++) {
        int64_t wait =
            retry_next(&p, 1, (struct retry_wish){.greylisted = true}, now, &r).us - now.us;
        assert_true(wait >= 300 * WALL_SECOND && wait <= 330 * WALL_SECOND);
        wait = retry_next(&single, 1, (struct retry_wish){.greylisted = true}, now, &r).us - now.us;
        assert_true(wait >= 2 * WALL_SECOND && wait <= 22 * WALL_SECOND / 10);
    }
}

/* Checklist 77, 79: a time that the receiver names counts when it is sane. */
static void a_named_time_counts(void **state)
{
    (void)state;
    static const struct {
        uint32_t attempts;
        int64_t after_s, low_s, high_s;
    } cases[] = {
        {1, 120, 120, 132},     {1, 30, 30, 33},       {1, 6, 6, 7},
        {1, 600, 600, 600},     {1, 5, 54, 66},     /* sooner than a tenth of the pause */
        {1, 601, 54, 66},       {1, 86400, 54, 66}, /* further than twice the following one */
        {2, 1800, 1800, 1800},  {3, 1800, 1800, 1800}, {3, 1801, 810, 990},
        {1, INT64_MAX, 54, 66}, {1, -5, 54, 66},
    };
    struct retry_policy p = {.pause_s = {60, 300, 900}, .n = 3, .jitter_percent = 10};
    struct rng r;
    rng_seed(&r, 6);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int round = 0; round < 200; round++) {
            struct retry_wish wish = {.after_s = cases[i].after_s};
            struct wall next = retry_next(&p, cases[i].attempts, wish, now, &r);
            assert_true(next.us >= wall_add_s(now, cases[i].low_s).us);
            assert_true(next.us <= wall_add_s(now, cases[i].high_s).us);
            /* A restart does not move it (promise 8). */
            assert_int_equal(retry_clamp(&p, cases[i].attempts, next, now).us, next.us);
        }
    }
}

static void the_widest_has_each_longest_pause(void **state)
{
    (void)state;
    struct retry_policy to = {.pause_s = {60, 300}, .n = 2};
    retry_widen(&to, &(struct retry_policy){.pause_s = {30, 20, 900, 10}, .n = 4});
    assert_int_equal(to.n, 4);
    assert_int_equal(to.pause_s[0], 60);
    assert_int_equal(to.pause_s[1], 300);
    assert_int_equal(to.pause_s[2], 900);
    assert_int_equal(to.pause_s[3], 300);
    retry_widen(&to, &(struct retry_policy){.pause_s = {100}, .n = 1});
    assert_int_equal(to.pause_s[0], 100);
    assert_int_equal(to.n, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greylisted_skips_a_pause),
        cmocka_unit_test(a_named_time_counts),
        cmocka_unit_test(the_widest_has_each_longest_pause),
        cmocka_unit_test(pauses_follow_the_list),
        cmocka_unit_test(never_at_once_and_never_further_than_twice),
        cmocka_unit_test(absurd_due_times_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
