/* Dates as mail and log show them: right in leap years, after 2038, and for times no calendar
 * expects. */
#include "relay/base/clock.h"
#include "relay/base/rand.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static void dates_as_tabled(void **state)
{
    (void)state;
    static const struct {
        int64_t us;
        const char *rfc3339, *rfc5322;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000000Z", "Thu, 01 Jan 1970 00:00:00 +0000"},
        {-1, "1969-12-31T23:59:59.999999Z", "Wed, 31 Dec 1969 23:59:59 +0000"},
        {951782399000000, "2000-02-28T23:59:59.000000Z", "Mon, 28 Feb 2000 23:59:59 +0000"},
        {951782400000000, "2000-02-29T00:00:00.000000Z", "Tue, 29 Feb 2000 00:00:00 +0000"},
        {951868800000000, "2000-03-01T00:00:00.000000Z", "Wed, 01 Mar 2000 00:00:00 +0000"},
        {1709251199999999, "2024-02-29T23:59:59.999999Z", "Thu, 29 Feb 2024 23:59:59 +0000"},
        {1795391752123456, "2026-11-22T23:55:52.123456Z", "Sun, 22 Nov 2026 23:55:52 +0000"},
        {1803859200000000, "2027-03-01T00:00:00.000000Z", "Mon, 01 Mar 2027 00:00:00 +0000"},
        {2147483648000000, "2038-01-19T03:14:08.000000Z", "Tue, 19 Jan 2038 03:14:08 +0000"},
        {4107542400000000, "2100-03-01T00:00:00.000000Z", "Mon, 01 Mar 2100 00:00:00 +0000"},
        {253402300799999999, "9999-12-31T23:59:59.999999Z", "Fri, 31 Dec 9999 23:59:59 +0000"},
        {INT64_MAX, "9999-12-31T23:59:59.999999Z", "Fri, 31 Dec 9999 23:59:59 +0000"},
        {INT64_MIN, "0001-01-01T00:00:00.000000Z", "Mon, 01 Jan 0001 00:00:00 +0000"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char rfc3339[WALL_RFC3339_SIZE], rfc5322[WALL_RFC5322_SIZE];
        wall_rfc3339((struct wall){rows[i].us}, rfc3339);
        wall_rfc5322((struct wall){rows[i].us}, rfc5322);
        assert_string_equal(rfc3339, rows[i].rfc3339);
        assert_string_equal(rfc5322, rows[i].rfc5322);
    }
}

static void compare_with_libc(int64_t second)
{
    time_t t = (time_t)second;
    struct tm tm;
    assert_non_null(gmtime_r(&t, &tm));
    char want[64], got[WALL_RFC5322_SIZE], iso[WALL_RFC3339_SIZE];
    assert_true(strftime(want, sizeof want, "%a, %d %b %Y %H:%M:%S +0000", &tm) > 0);
    wall_rfc5322((struct wall){second * WALL_SECOND}, got);
    assert_string_equal(got, want);
    assert_true(strftime(want, sizeof want, "%Y-%m-%dT%H:%M:%S.000000Z", &tm) > 0);
    wall_rfc3339((struct wall){second * WALL_SECOND}, iso);
    assert_string_equal(iso, want);
}

/* Law: the same as the C library, for every day of four hundred years and for times in between. */
static void agrees_with_the_c_library(void **state)
{
    (void)state;
    for (int64_t day = -200 * 366; day < 400 * 366; day++)
        compare_with_libc(day * 86400);
    struct rng rng;
    rng_seed(&rng, 4);
    for (int i = 0; i < 20000; i++)
        compare_with_libc((int64_t)rng_below(&rng, 253402300800U));
}

static void times_that_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t us; /* -1: none */
    } rows[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-11-22T23:55:52Z", INT64_C(1795391752) * WALL_SECOND},
        {"2026-11-22t23:55:52z", INT64_C(1795391752) * WALL_SECOND},
        {"2026-11-23T00:55:52+01:00", INT64_C(1795391752) * WALL_SECOND},
        {"2026-11-22T18:25:52-05:30", INT64_C(1795391752) * WALL_SECOND},
        {"2026-11-22T23:55:52.1234567Z", INT64_C(1795391752) * WALL_SECOND + 123456},
        {"2024-02-29T00:00:00Z", INT64_C(1709164800) * WALL_SECOND},
        {"2016-12-31T23:59:60Z", INT64_C(1483228800) * WALL_SECOND},
        {"", -1},
        {"2026-11-22", -1},
        {"2026-11-22T23:55:52", -1},
        {"2026-11-22 23:55:52Z", -1},
        {"2026-11-22T23:55:52Z ", -1},
        {"2026-11-22T23:55:52ZZ", -1},
        {"2026-11-22T23:55:52.Z", -1},
        {"2026-11-22T23:55:52+01", -1},
        {"2026-11-22T23:55:52+24:00", -1},
        {"2026-11-22T23:55:52+0100", -1},
        {"2026-11-22T23:55Z", -1},
        {"2026-11-22T24:00:00Z", -1},
        {"2026-11-22T23:60:00Z", -1},
        {"2026-11-22T23:55:61Z", -1},
        {"2026-00-22T23:55:52Z", -1},
        {"2026-13-22T23:55:52Z", -1},
        {"2026-11-00T23:55:52Z", -1},
        {"2026-11-31T23:55:52Z", -1},
        {"2025-02-29T00:00:00Z", -1},
        {"2100-02-29T00:00:00Z", -1},
        {"+026-11-22T23:55:52Z", -1},
        {"1969-12-31T23:59:59Z", -1},
        {"1970-01-01T00:00:00+00:01", -1},
        {"9999-12-31T23:59:59-00:01", -1},
        {"12026-11-22T23:55:52Z", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct wall t = {-1};
        const bool good = wall_parse_rfc3339(slice_str(rows[i].text), &t);
        if (good != (rows[i].us >= 0) || t.us != rows[i].us)
            fail_msg("%s: %lld", rows[i].text, (long long)t.us);
    }
}

/* Law: what is written is read as it was. */
static void what_is_written_is_read(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 5);
    for (int i = 0; i < 20000; i++) {
        struct wall t = {(int64_t)(rng_below(&rng, 253402300800U)) * WALL_SECOND +
                         (int64_t)rng_below(&rng, WALL_SECOND)},
                    back;
        char text[WALL_RFC3339_SIZE];
        wall_rfc3339(t, text);
        assert_true(wall_parse_rfc3339(slice_str(text), &back));
        assert_true(back.us == t.us);
    }
}

static void sums_and_deadlines(void **state)
{
    (void)state;
    struct mono t = mono_add((struct mono){1000}, 500);
    assert_int_equal(t.ms, 1500);
    assert_true(mono_reached(t, (struct mono){1500}));
    assert_false(mono_reached(t, (struct mono){1499}));
    assert_false(mono_reached(MONO_NEVER, t));
    assert_int_equal(mono_min(MONO_NEVER, t).ms, 1500);
    assert_int_equal(wall_add_s((struct wall){1}, 60).us, 60000001);
}

static void clocks_go(void **state)
{
    (void)state;
    struct mono a = mono_now(), b = mono_now();
    assert_true(b.ms >= a.ms);
    int64_t difference = wall_now().us / WALL_SECOND - (int64_t)time(NULL);
    assert_true(difference >= -2 && difference <= 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dates_as_tabled),     cmocka_unit_test(agrees_with_the_c_library),
        cmocka_unit_test(times_that_are_read), cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(sums_and_deadlines),  cmocka_unit_test(clocks_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
