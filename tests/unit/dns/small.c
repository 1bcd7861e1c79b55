/* Names, addresses, the cache and the override table. If one fails: queries for what is no name,
 * mail into private networks, stale answers, memory that strangers fill, or a demonstration that
 * looks elsewhere than its configuration says. */
#include "dns/cache.h"
#include "dns/ip.h"
#include "dns/name.h"
#include "dns/override.h"
#include "relay/base/defer.h"
#include "relay/base/rand.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define L63 "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk"

static const struct {
    const char *given, *name; /* NULL: refused */
} names[] = {
    {"example.test", "example.test"},
    {"EXAMPLE.Test.", "example.test"},
    {"localhost", "localhost"},
    {"_25._tcp.mx.test", "_25._tcp.mx.test"},
    {"r3---sn-4g5e.test", "r3---sn-4g5e.test"},
    {"1.2.3.4a", "1.2.3.4a"},
    {L63 ".test", L63 ".test"},
    {L63 "." L63 "." L63 "."
         "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghi",
     L63 "." L63 "." L63 "."
         "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghi"},
    {"b\xc3\xbc"
     "cher.test",
     "xn--bcher-kva.test"},
    {"B\xc3\x9c"
     "CHER.Test",
     "xn--bcher-kva.test"},
    {"stra\xc3\x9f"
     "e.test",
     "xn--strae-oqa.test"},
    {"\xe4\xbe\x8b\xe3\x81\x88.test", "xn--r8jz45g.test"},
    {"xn--bcher-kva.test", "xn--bcher-kva.test"},
    {"", NULL},
    {".", NULL},
    {"a..b", NULL},
    {".a", NULL},
    {"a.test..", NULL},
    {"a b.test", NULL},
    {"a\r\n.test", NULL},
    {"a/b", NULL},
    {"a\\032b", NULL},
    {"[1.2.3.4]", NULL},
    {"1.2.3.4", NULL},
    {"a.123", NULL},
    {L63 "x.test", NULL},
    {L63 "." L63 "." L63 "."
         "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghij",
     NULL},
    {"b\xfc"
     "cher.test",
     NULL},
    {"\xe2\x80\xae.test", NULL},
};

static void test_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char got[DNS_NAME_SIZE] = "untouched", again[DNS_NAME_SIZE];
        bool ok = dns_name_parse(slice_str(names[i].given), got);
        if (ok != (names[i].name != NULL))
            fail_msg("%s", names[i].given);
        assert_string_equal(got, ok ? names[i].name : "untouched");
        if (ok) /* law: what passed passes unchanged */
            assert_true(dns_name_parse(slice_str(got), again) && strcmp(got, again) == 0);
    }
    char got[DNS_NAME_SIZE];
    assert_false(dns_name_parse(SLICE_LIT("a\0b.test"), got));
    assert_false(dns_name_parse(SLICE_LIT("\xc3\xbc\0b.test"), got));
}

static void test_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum ip_reach reach;
    } good[] = {
        /* 47; the tables are tested where they stand, in relay/base */
        {"8.8.8.8", IP_PUBLIC},           {"10.0.0.1", IP_PRIVATE}, {"0.0.0.0", IP_NEVER},
        {"2600::1", IP_PUBLIC},           {"fe80::1", IP_PRIVATE},  {"ff02::1", IP_NEVER},
        {"::ffff:127.0.0.1", IP_PRIVATE},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct dns_ip ip, back;
        uint16_t port;
        assert_true(dns_ip_parse(slice_str(good[i].text), &ip));
        assert_int_equal(dns_ip_reach(&ip), good[i].reach);
        struct sockaddr_storage s = dns_ip_sockaddr(&ip, 2525);
        assert_true(dns_ip_of_sockaddr(&s, &back, &port) && port == 2525 && dns_ip_eq(&ip, &back));
    }
    static const char *const bad[] = {
        "",    "1.2.3",      "1.2.3.4.5", "1.2.3.256", "01.2.3.4",
        "::g", "fe80::1%lo", " 1.2.3.4",  "[::1]",     "1:2:3:4:5:6:7:8:9"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct dns_ip ip;
        assert_false(dns_ip_parse(slice_str(bad[i]), &ip));
    }
}

/* --- cache --- */

static const struct mono t0 = {1000000};

static void put(struct dns_cache *c, const char *name, uint32_t ttl_s, struct mono now)
{
    struct dns_answer *a = dns_answer_new(DNS_OK, DNS_A, ttl_s);
    dns_answer_add_ip(a, AF_INET, (const uint8_t *)"\31\0\0\1");
    dns_cache_put(c, name, a, now);
    dns_answer_unref(a);
}

/* What is left to live, -1: not there. */
static int64_t left(struct dns_cache *c, const char *name, enum dns_type type, struct mono now)
{
    struct dns_answer *a = dns_cache_find(c, name, type, now);
    int64_t ttl = a ? (int64_t)a->ttl_s : -1;
    if (a)
        assert_true(a->n == 1 && a->ip[0].bytes[0] == 25);
    dns_answer_unref(a);
    return ttl;
}

static void test_cache_time(void **state) /* 48 */
{
    (void)state;
    struct dns_cache *c = dns_cache_new(10, 1 << 20);
    put(c, "a.test", 60, t0);
    put(c, "zero.test", 0, t0);
    assert_int_equal(left(c, "a.test", DNS_A, t0), 60);
    assert_int_equal(left(c, "a.test", DNS_A, mono_add(t0, 59001)),
                     1); /* never 0 while it is there */
    assert_int_equal(left(c, "a.test", DNS_AAAA, t0), -1);
    assert_int_equal(left(c, "a.tes", DNS_A, t0), -1);
    assert_int_equal(left(c, "zero.test", DNS_A, t0), -1);
    put(c, "a.test", 100, mono_add(t0, 30000)); /* a newer answer replaces the older one */
    assert_int_equal(left(c, "a.test", DNS_A, mono_add(t0, 70000)), 60);
    assert_int_equal(left(c, "a.test", DNS_A, mono_add(t0, 130000)), -1);
    assert_int_equal(dns_cache_count(c), 0);
    dns_cache_free(c);
}

static void test_cache_bounds(void **state)
{
    (void)state;
    struct dns_cache *c = dns_cache_new(3, 1 << 20);
    put(c, "a.test", 60, t0);
    put(c, "b.test", 60, t0);
    put(c, "c.test", 60, t0);
    assert_int_equal(left(c, "a.test", DNS_A, t0), 60); /* used: now b is the oldest */
    put(c, "d.test", 60, t0);
    assert_int_equal(left(c, "b.test", DNS_A, t0), -1);
    assert_int_equal(left(c, "a.test", DNS_A, t0), 60);
    assert_int_equal(dns_cache_count(c), 3);
    dns_cache_flush(c);
    assert_int_equal(dns_cache_count(c), 0);
    dns_cache_free(c);

    /* by bytes: answers of a hundred MX records, each some 26 KB */
    c = dns_cache_new(1000, 100000);
    for (unsigned i = 0; i < 50; i++) {
        struct dns_answer *a = dns_answer_new(DNS_OK, DNS_MX, 60);
        char name[DNS_NAME_SIZE];
        for (unsigned k = 0; k < 100; k++)
            dns_answer_add_mx(a, (uint16_t)k, "x.test");
        snprintf(name, sizeof name, "h%u.test", i);
        dns_cache_put(c, name, a, t0);
        dns_answer_unref(a);
        assert_in_range(dns_cache_count(c), 1, 3);
    }
    dns_cache_free(c);
}

/* Law: against a plain list, for any sequence of puts and finds, the cache never says what the list
 * does not. */
static void test_cache_law(void **state)
{
    (void)state;
    struct dns_cache *c = dns_cache_new(8, 1 << 20);
    struct mono until[16] = {{0}}, now = t0;
    struct rng r;
    rng_seed(&r, 3);
    size_t hits = 0;
    for (int i = 0; i < 20000; i++) {
        unsigned k = (unsigned)rng_below(&r, 16);
        char name[DNS_NAME_SIZE];
        snprintf(name, sizeof name, "n%u.test", k);
        now = mono_add(now, (int64_t)rng_below(&r, 500));
        if (rng_below(&r, 3) == 0) {
            uint32_t ttl = (uint32_t)rng_below(&r, 5);
            put(c, name, ttl, now);
            until[k] = mono_add(now, (int64_t)ttl * 1000);
        }
        int64_t ttl = left(c, name, DNS_A, now);
        assert_true(ttl < 0 ||
                    (!mono_reached(until[k], now) && ttl == (until[k].ms - now.ms + 999) / 1000));
        hits += ttl > 0;
        assert_true(dns_cache_count(c) <= 8);
    }
    assert_true(hits > 2000);
    dns_cache_free(c);
}

static void test_answers_are_sorted_and_bounded(void **state)
{
    (void)state;
    struct dns_answer *a = dns_answer_new(DNS_OK, DNS_MX, 60);
    struct rng r;
    rng_seed(&r, 5);
    for (unsigned i = 0; i < 1000; i++) {
        char name[DNS_NAME_SIZE];
        snprintf(name, sizeof name, "h%u.test", (unsigned)rng_below(&r, 50));
        dns_answer_add_mx(a, (uint16_t)rng_below(&r, 50), name);
        assert_true(a->n <= DNS_MX_MAX);
        for (size_t k = 1; k < a->n; k++)
            assert_true(a->mx[k - 1].preference < a->mx[k].preference ||
                        (a->mx[k - 1].preference == a->mx[k].preference &&
                         strcmp(a->mx[k - 1].target, a->mx[k].target) < 0));
    }
    assert_int_equal(a->n, DNS_MX_MAX);
    struct dns_answer *same = dns_answer_with_ttl(a, 60), *copy = dns_answer_with_ttl(a, 5);
    assert_ptr_equal(same, a);
    assert_int_equal(copy->ttl_s, 5);
    assert_memory_equal(copy->mx, a->mx, a->n * sizeof *a->mx);
    dns_answer_unref(a);
    dns_answer_unref(same);
    dns_answer_unref(copy);
}

/* --- override --- */

static void test_override(void **state)
{
    (void)state;
    const struct slice lines[] = {
        SLICE_LIT("example.test MX 10 mx.example.test"),
        SLICE_LIT("Example.Test. mx 5 MX2.example.test."),
        SLICE_LIT("  mx.example.test\tA  127.0.0.1 "),
        SLICE_LIT("mx.example.test A 127.0.0.2"),
        SLICE_LIT("mx.example.test AAAA ::1"),
        SLICE_LIT("null.test MX 0 ."),
        SLICE_LIT("gone.test NXDOMAIN"),
        SLICE_LIT("b\xc3\xbc"
                  "cher.test A 127.0.0.3"),
    };
    struct dns_override *o = NULL;
    assert_int_equal(dns_override_new(&o, lines, sizeof lines / sizeof lines[0], NULL), 0);
    static const struct {
        const char *name;
        enum dns_type type;
        enum dns_status status;
        size_t n;
    } rows[] = {
        {"example.test", DNS_MX, DNS_OK, 2},        {"example.test", DNS_A, DNS_NODATA, 0},
        {"mx.example.test", DNS_A, DNS_OK, 2},      {"mx.example.test", DNS_AAAA, DNS_OK, 1},
        {"mx.example.test", DNS_MX, DNS_NODATA, 0}, {"null.test", DNS_MX, DNS_OK, 1},
        {"gone.test", DNS_MX, DNS_NXDOMAIN, 0},     {"gone.test", DNS_A, DNS_NXDOMAIN, 0},
        {"xn--bcher-kva.test", DNS_A, DNS_OK, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct dns_answer *a = dns_override_find(o, rows[i].name, rows[i].type);
        assert_non_null(a);
        assert_int_equal(a->status, rows[i].status);
        assert_int_equal(a->n, rows[i].n);
        assert_true(a->type == rows[i].type);
        dns_answer_unref(a);
    }
    assert_null(dns_override_find(o, "other.test", DNS_A));
    struct dns_answer *a = dns_override_find(o, "example.test", DNS_MX);
    assert_string_equal(a->mx[0].target, "mx2.example.test");
    dns_answer_unref(a);
    dns_override_unref(o);
}

static void test_override_mistakes(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "a.test",
                                      "a.test MX",
                                      "a.test MX 10",
                                      "a.test MX ten b.test",
                                      "a.test MX 65536 b.test",
                                      "a.test MX 10 127.0.0.1",
                                      "a.test MX 10 b.test c.test",
                                      "a.test A",
                                      "a.test A ::1",
                                      "a.test A b.test",
                                      "a.test AAAA 127.0.0.1",
                                      "a.test CNAME b.test",
                                      "a.test NXDOMAIN x",
                                      "127.0.0.1 A 127.0.0.1",
                                      "a..test A 127.0.0.1",
                                      "first.test NXDOMAIN"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct slice lines[] = {SLICE_LIT("first.test A 127.0.0.1"), slice_str(bad[i])};
        struct dns_override *o = NULL;
        struct err e = {0};
        if (dns_override_new(&o, lines, 2, &e) == 0)
            fail_msg("%s", bad[i]);
        assert_null(o);
        assert_non_null(strstr(e.text, bad[i])); /* says which line */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),      cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_cache_time), cmocka_unit_test(test_cache_bounds),
        cmocka_unit_test(test_cache_law),  cmocka_unit_test(test_answers_are_sorted_and_bounded),
        cmocka_unit_test(test_override),   cmocka_unit_test(test_override_mistakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
