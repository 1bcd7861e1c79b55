/* 28: one failing sender gets so many reports and no more, at once and in the long run; the others
 * do not wait behind him. */
#include "relay/spooler/limit.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct mono at(int64_t ms)
{
    return (struct mono){ms};
}

/* A burst, then evenly; each who waits has a moment to himself. */
static void a_burst_and_then_the_rate(void **state)
{
    const struct limit_rate r = {.n = 10, .per_ms = 1000};
    (void)state;
    struct limit *l = limit_new();
    for (int i = 0; i < 10; i++) {
        assert_int_equal(limit_look(l, SLICE_LIT("a"), &r, at(5000)), 0);
        assert_false(limit_take(l, SLICE_LIT("a"), &r, at(5000)));
    }
    for (int i = 0; i < 30; i++) {
        assert_int_equal(limit_look(l, SLICE_LIT("a"), &r, at(5000)), 100 * (i + 1));
        assert_int_equal(limit_take(l, SLICE_LIT("a"), &r, at(5000)), i == 0); /* told once */
    }
    assert_int_equal(limit_look(l, SLICE_LIT("b"), &r, at(5000)), 0);
    assert_int_equal(limit_look(l, SLICE_LIT("a"), &r, at(8000)), 100);
    assert_int_equal(limit_look(l, SLICE_LIT("a"), &r, at(8100)), 0);
    /* After a day there is a burst, not a day's worth. */
    for (int i = 0; i < 10; i++) {
        assert_int_equal(limit_look(l, SLICE_LIT("a"), &r, at(90000000)), 0);
        limit_take(l, SLICE_LIT("a"), &r, at(90000000));
    }
    assert_int_equal(limit_look(l, SLICE_LIT("a"), &r, at(90000000)), 100);
    const struct limit_rate none = {0};
    assert_int_equal(limit_look(l, SLICE_LIT("a"), &none, at(90000000)), 0);
    limit_free(l);
}

/* A million names do not fill the memory, and do not get around the limit by being many. */
static void names_are_bounded(void **state)
{
    const struct limit_rate r = {.n = 2, .per_ms = 1000000};
    (void)state;
    struct limit *l = limit_new();
    char name[32];
    for (unsigned i = 0; i < LIMIT_NAMES_MAX + 10; i++) {
        snprintf(name, sizeof name, "n%u", i);
        limit_take(l, slice_str(name), &r, at(1));
    }
    assert_true(limit_look(l, SLICE_LIT("another"), &r, at(1)) > 0); /* shares one with the rest */
    assert_int_equal(limit_look(l, SLICE_LIT("n5"), &r, at(1)), 0);
    assert_int_equal(limit_look(l, SLICE_LIT("n5"), &r, at(2000000)), 0);
    limit_take(l, SLICE_LIT("another"), &r, at(90000000)); /* the idle ones are forgotten */
    assert_int_equal(limit_look(l, SLICE_LIT("another"), &r, at(90000000)), 0);
    limit_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_and_then_the_rate),
        cmocka_unit_test(names_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
