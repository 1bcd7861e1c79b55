/* Rates over minutes. If this breaks, an operator sees a standstill as work, or work as a
 * standstill. */
#include "relay/admin/rates.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void assert_rate(double is, double wanted)
{
    if (fabs(is - wanted) > 0.001)
        fail_msg("%f instead of %f", is, wanted);
}

static double of(const struct rates *r, int64_t count, int64_t ms, int64_t minutes)
{
    return rates_of(r, RATE_DELIVERED, count, (struct mono){ms}, minutes);
}

static void note(struct rates *r, int64_t ms, int64_t count)
{
    rates_note(r, (struct mono){ms}, (const int64_t[RATES]){[RATE_DELIVERED] = count});
}

static void test_means(void **state)
{
    (void)state;
    struct rates r = {0};
    assert_rate(of(&r, 10, 1000, 1), 0); /* nothing is known yet */
    int64_t ms = 1000, count = 7;        /* counted before the first note: of no span */
    note(&r, ms, count);
    assert_rate(of(&r, 8, ms + 500, 1), 0); /* too early to say */
    assert_rate(of(&r, count + 30, ms + 3000, 15), 10);
    /* Half an hour of 10 a second, then a minute of 2 a second, then nothing for four. */
    for (int i = 0; i < 360; i++)
        note(&r, ms += RATES_STEP_MS, count += 50);
    assert_rate(of(&r, count, ms, 1), 10);
    assert_rate(of(&r, count, ms, 15), 10);
    for (int i = 0; i < 12; i++)
        note(&r, ms += RATES_STEP_MS, count += 10);
    assert_rate(of(&r, count, ms, 1), 2);
    assert_rate(of(&r, count, ms, 5), (4 * 10 + 2) / 5.0);
    assert_rate(of(&r, count, ms, 15), (14 * 10 + 2) / 15.0);
    for (int i = 0; i < 48; i++)
        note(&r, ms += RATES_STEP_MS, count);
    assert_rate(of(&r, count, ms, 1), 0);
    assert_rate(of(&r, count, ms, 5), 2 / 5.0);
    /* What happened since the last note counts, too. */
    assert_rate(of(&r, count + 124, ms + 2000, 1), 2);
}

static void test_counter_that_fell(void **state)
{
    (void)state;
    struct rates r = {0};
    note(&r, 1000, 100);
    assert_rate(of(&r, 50, 11000, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_means),
                                       cmocka_unit_test(test_counter_that_fell)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
