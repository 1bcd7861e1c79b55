/* Units as people write them in the configuration and on the command line. */
#include "relay/conf/conf.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"0", 0},
                {"1", 1},
                {"1K", 1024},
                {"25M", 25u << 20},
                {"25m", 25u << 20},
                {"3G", (uint64_t)3 << 30},
                {"8388607T", UINT64_C(8388607) << 40}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        uint64_t v = 1234567;
        assert_true(conf_parse_size(slice_str(good[i].text), &v));
        assert_int_equal(v, good[i].bytes);
    }
    static const char *const bad[] = {
        "",    "M",   "-1",   "+1",    "1.5M", "1 M",      " 1",
        "1Mi", "1MB", "0x10", "1\xcd", "1@",   "8388608T", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t v = 42;
        if (conf_parse_size(slice_str(bad[i]), &v) || v != 42)
            fail_msg("%s is taken for %llu", bad[i], (unsigned long long)v);
    }
}

static void test_durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"0s", 0},        {"250ms", 250},    {"90s", 90000},     {"10m", 600000},
                {"4h", 14400000}, {"5d", 432000000}, {"2w", 1209600000}, {"36500d", 3153600000000}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int64_t v = 7;
        assert_true(conf_parse_duration(slice_str(good[i].text), &v));
        assert_int_equal(v, good[i].ms);
    }
    static const char *const bad[] = {"",    "5",   "s",     "5S",     "5M",
                                      "-5s", "5 s", "1h30m", "36501d", "99999999999999999999s"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t v = 42;
        if (conf_parse_duration(slice_str(bad[i]), &v) || v != 42)
            fail_msg("%s is taken for %lld", bad[i], (long long)v);
    }
}

static void test_rates(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned n;
        int64_t per_ms;
    } good[] = {{"1/s", 1, 1000},
                {"6000/m", 6000, 60000},
                {"1000/h", 1000, 3600000},
                {"1000000000/d", 1000000000, 86400000}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct conf_rate r = {0};
        assert_true(conf_parse_rate(slice_str(good[i].text), &r));
        assert_int_equal(r.n, good[i].n);
        assert_int_equal(r.per_ms, good[i].per_ms);
    }
    static const char *const bad[] = {"",     "5",    "/s",   "5/",    "5/w",   "5/S",
                                      "5/ss", "5/s ", " 5/s", "5 / s", "5/s/s", "1000000001/s",
                                      "0/s",  "-1/s"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct conf_rate r = {.n = 42};
        if (conf_parse_rate(slice_str(bad[i]), &r) || r.n != 42)
            fail_msg("%s is taken for %u", bad[i], r.n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sizes),
                                       cmocka_unit_test(test_durations),
                                       cmocka_unit_test(test_rates)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
