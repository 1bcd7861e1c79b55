/* Plans that ask no MX (relay lists, address literals), and what is done with a plan: its site, the
 * order of one delivery, destination patterns. If one fails, a wrong smarthost name bounces mail,
 * one domain's trouble slows another, or all deliveries knock at the same door first. */
#include "tests/unit/dns/zone.h"

static const struct {
    int number;
    const char *hosts[3], *zone, *plan, *site;
} relays[] = {
    {44,
     {"smtp.p.test:587"},
     "smtp.p.test A 25.0.0.1",
     "0 smtp.p.test 25.0.0.1:587",
     "smtp.p.test:587"},
    {44,
     {"SMTP.p.test", "b.p.test:2525"},
     "smtp.p.test A 25.0.0.1; b.p.test A 25.0.0.2",
     "0 smtp.p.test 25.0.0.1:25; 1 b.p.test 25.0.0.2:2525",
     "smtp.p.test:25,b.p.test:2525"},
    {44,
     {"10.0.0.1:2525", "[fd00::1]", "[::1]:2526"},
     "",
     "0  10.0.0.1:2525; 1  [fd00::1]:25; 2  [::1]:2526",
     "10.0.0.1:2525,[fd00::1]:25,[::1]:2526"},
    {44,
     {"x.test:25", "x.test:26"},
     "x.test A 25.0.0.1",
     "0 x.test 25.0.0.1:25; 1 x.test 25.0.0.1:26",
     "x.test:25,x.test:26"},
    {44,
     {"x.test"},
     "x.test MX 10 y.test; y.test A 25.0.0.1; x.test A 10.0.0.1",
     "0 x.test 10.0.0.1:25",
     "x.test:25"},
    {44, {"x.test", "y.test"}, "y.test A 25.0.0.2", "1 y.test 25.0.0.2:25", NULL},
    {44, {"x.test"}, "", "local", NULL},
    {44, {"x.test"}, "x.test TXT x", "local", NULL},
    {44, {"x.test"}, "x.test A !servfail", "dns_servfail", NULL},
    {44, {"x.test"}, "x.test A !timeout", "dns_timeout", NULL},
    {44, {"a b"}, "", "local", NULL},
    {44, {"x.test:0"}, "x.test A 25.0.0.1", "local", NULL},
    {44, {"x.test:65536"}, "x.test A 25.0.0.1", "local", NULL},
    {44, {"[::1"}, "", "local", NULL},
    {41, {"x.test"}, "x.test A 25.9.9.9", "local", NULL},
    {41, {"x.test:587"}, "x.test A 25.9.9.9", "0 x.test 25.9.9.9:587", NULL},
    {41, {"x.test:587"}, "x.test A 25.9.9.8", "local", NULL},
    {41,
     {"x.test", "y.test"},
     "x.test A 25.9.9.9; y.test A 25.0.0.1",
     "1 y.test 25.0.0.1:25",
     NULL},
};

static void test_relays(void **state)
{
    (void)state;
    struct plan_options o = options_of(BOTH);
    for (size_t i = 0; i < sizeof relays / sizeof relays[0]; i++) {
        struct slice hosts[3];
        size_t n = 0;
        for (; n < 3 && relays[i].hosts[n]; n++)
            hosts[n] = slice_str(relays[i].hosts[n]);
        struct plan *p = run(plan_maker_relay(hosts, n, &o), relays[i].zone, SHUFFLED, NULL);
        DEFER(buf_done) struct buf b = BUF_MAX(8192);
        assert_string_equal(text_of(p, &b), relays[i].plan);
        if (relays[i].site)
            assert_string_equal(p->site, relays[i].site);
        plan_unref(p);
    }
}

/* 44, promise 10: whatever is wrong with a relay host, nothing bounces. */
static void test_relay_faults_are_soft(void **state)
{
    (void)state;
    struct plan_options o = options_of(BOTH);
    for (size_t i = 0; i < sizeof relays / sizeof relays[0]; i++) {
        struct slice host = slice_str(relays[i].hosts[0]);
        struct plan *p = run(plan_maker_relay(&host, 1, &o), relays[i].zone, FORWARD, NULL);
        if (p->fault != FAULT_NONE) {
            struct verdict v = verdict_of_fault(p->fault, PHASE_CONNECT, slice_str(p->detail));
            assert_int_equal(v.kind, VERDICT_DEFERRED);
            assert_true(p->detail[0] != 0);
            verdict_done(&v);
        }
        plan_unref(p);
    }
}

static const struct {
    const char *literal;
    unsigned flags;
    const char *plan, *site;
} literals[] = {
    {"[25.0.0.1]", BOTH, "0  25.0.0.1:25", "[25.0.0.1]"},
    {"[IPv6:2600::1]", BOTH, "0  [2600::1]:25", "[IPv6:2600::1]"},
    {"[ipv6:2600:0::1]", BOTH, "0  [2600::1]:25", "[IPv6:2600::1]"},
    {"[IPv6:::ffff:25.0.0.1]", BOTH, "0  25.0.0.1:25", "[25.0.0.1]"},
    {"[127.0.0.1]", BOTH, "private_address", NULL},
    {"[127.0.0.1]", BOTH | PRIVATE, "0  127.0.0.1:25", NULL},
    {"[IPv6:::ffff:127.0.0.1]", BOTH, "private_address", NULL},
    {"[25.9.9.9]", BOTH, "loop", NULL},
    {"[25.9.9.8]", BOTH, "own_address", NULL}, /* 47 */
    {"[IPv6:2600:9::7]", BOTH, "own_address", NULL},
    {"[IPv6:2600::1]", V4, "connect_failed", NULL},
    {"[0.0.0.0]", BOTH | PRIVATE, "bad_literal", NULL},
    {"[2600::1]", BOTH, "bad_literal", NULL},
    {"[IPv6:25.0.0.1]", BOTH, "bad_literal", NULL},
    {"[25.0.0.1", BOTH, "bad_literal", NULL},
    {"25.0.0.1", BOTH, "bad_literal", NULL},
    {"[]", BOTH, "bad_literal", NULL},
    {"", BOTH, "bad_literal", NULL},
    {"[25.0.0.256]", BOTH, "bad_literal", NULL},
    {"[IPv6:fe80::1%eth0]", BOTH, "bad_literal", NULL},
};

static void test_literals(void **state) /* 46 */
{
    (void)state;
    for (size_t i = 0; i < sizeof literals / sizeof literals[0]; i++) {
        struct plan_options o = options_of(literals[i].flags);
        struct plan *p = plan_literal(slice_str(literals[i].literal), &o);
        DEFER(buf_done) struct buf b = BUF_MAX(1024);
        assert_string_equal(text_of(p, &b), literals[i].plan);
        if (literals[i].site)
            assert_string_equal(p->site, literals[i].site);
        plan_unref(p);
    }
}

static const struct {
    const char *domain, *zone, *site;
} sites[] = {
    {"a.test", "a.test MX 10 mx.test; mx.test A 25.0.0.1", "mx.test"},
    {"a.test", "a.test A 25.0.0.1", "a.test"},
    {"a.test", "a.test MX 10 x.one.test; a.test MX 10 y.two.test; x.one.test A 25.0.0.1",
     "x.one.test,y.two.test"},
    {"a.test",
     "a.test MX 1 aspmx.l.google.com; a.test MX 5 alt2.aspmx.l.google.com; a.test MX 5 "
     "alt1.aspmx.l.google.com; aspmx.l.google.com A 25.0.0.1",
     "(aspmx|alt1.aspmx|alt2.aspmx).l.google.com"},
    /* another domain, the same hosts in another order of answer and with other numbers, one of them
       gone for now */
    {"b.test",
     "b.test MX 20 alt1.aspmx.l.google.com; b.test MX 20 alt2.aspmx.l.google.com; b.test MX 10 "
     "aspmx.l.google.com; alt1.aspmx.l.google.com A 25.0.0.1; "
     "aspmx.l.google.com A !timeout",
     "(aspmx|alt1.aspmx|alt2.aspmx).l.google.com"},
    /* one host more is another site */
    {"a.test", "a.test MX 1 aspmx.l.google.com; a.test MX 5 x.test; aspmx.l.google.com A 25.0.0.1",
     "aspmx.l.google.com,x.test"},
    {"a.test", "a.test MX 10 mx1.b.test; a.test MX 10 xmx1.b.test; mx1.b.test A 25.0.0.1",
     "(mx1|xmx1).b.test"},
    {"a.test", "a.test MX 10 b.test; a.test MX 20 x.b.test; b.test A 25.0.0.1", "b.test,x.b.test"},
};

static void test_sites(void **state)
{
    (void)state;
    struct plan_options o = options_of(BOTH);
    for (size_t i = 0; i < sizeof sites / sizeof sites[0]; i++) {
        struct plan *p =
            run(plan_maker_new(slice_str(sites[i].domain), &o), sites[i].zone, BACKWARD, NULL);
        assert_string_equal(p->site, sites[i].site);
        plan_unref(p);
    }
}

/* Sets too long for a name still differ from one another, and equal ones are equal. */
static void test_long_sites(void **state)
{
    (void)state;
    struct plan_options o = options_of(BOTH);
    char site[3][DNS_NAME_SIZE * 2];
    for (unsigned round = 0; round < 3; round++) {
        DEFER(buf_done) struct buf zone = BUF_MAX(1 << 20);
        for (unsigned i = 0; i < 30; i++)
            buf_addf(&zone, "a.test MX 10 mail-exchange-number-%u.d%u.test;", i,
                     i == 29 && round == 2 ? 99 : i);
        buf_add_str(&zone, "mail-exchange-number-0.d0.test A 25.0.0.1");
        struct plan *p =
            run(plan_maker_new(SLICE_LIT("a.test"), &o), buf_str(&zone), (enum order)round, NULL);
        memcpy(site[round], p->site, sizeof site[round]);
        assert_in_range(strlen(p->site), 300, 511);
        plan_unref(p);
    }
    assert_string_equal(site[0], site[1]);
    assert_string_not_equal(site[0], site[2]);
}

/* 42: each delivery draws its own order; equal preferences are equally often first, and none
 * overtakes a better one. */
static void test_order(void **state)
{
    (void)state;
    struct plan_options o = options_of(BOTH);
    struct plan *p = run(plan_maker_new(SLICE_LIT("a.test"), &o),
                         "a.test MX 5 a.x.test; a.test MX 10 b.x.test; a.test MX 10 c.x.test; "
                         "a.test MX 10 d.x.test; a.test MX 20 e.x.test;"
                         "a.x.test A 25.0.0.1; b.x.test A 25.0.0.2; c.x.test A 25.0.0.3; d.x.test "
                         "A 25.0.0.4; e.x.test A 25.0.0.5",
                         FORWARD, NULL);
    struct rng r;
    size_t order[5], second[5] = {0};
    rng_seed(&r, 1);
    for (int i = 0; i < 3000; i++) {
        plan_order(p, &r, order);
        assert_int_equal(order[0], 0);
        assert_int_equal(order[4], 4);
        assert_int_equal((1U << order[1]) | (1U << order[2]) | (1U << order[3]), 14);
        second[order[1]]++;
    }
    for (size_t i = 1; i < 4; i++)
        assert_in_range(second[i], 850, 1150);
    plan_unref(p);
}

static const struct {
    const char *zone, *pattern;
    bool matches;
} matches[] = {
    {"a.test MX 1 aspmx.l.google.com; aspmx.l.google.com A 25.0.0.1", "*.google.com", true},
    {"a.test MX 1 aspmx.l.google.com; aspmx.l.google.com A 25.0.0.1", "*.GOOGLE.com", true},
    {"a.test MX 1 aspmx.l.google.com; aspmx.l.google.com A 25.0.0.1", "google.com", false},
    {"a.test MX 1 evilgoogle.com; evilgoogle.com A 25.0.0.1", "*.google.com", false},
    /* a backup elsewhere does not change where the mail goes; an equal does */
    {"a.test MX 1 x.google.com; a.test MX 2 b.test; x.google.com A 25.0.0.1; b.test A 25.0.0.2",
     "*.google.com", true},
    {"a.test MX 1 x.google.com; a.test MX 1 b.test; x.google.com A 25.0.0.1; b.test A 25.0.0.2",
     "*.google.com", false},
    {"a.test MX 1 b.test; a.test MX 2 x.google.com; x.google.com A 25.0.0.1; b.test A 25.0.0.2",
     "*.google.com", false},
    {"a.test A 25.0.0.1", "*.test", true},
    {"", "*", false},
};

static void test_matches(void **state)
{
    (void)state;
    struct plan_options o = options_of(BOTH);
    for (size_t i = 0; i < sizeof matches / sizeof matches[0]; i++) {
        struct plan *p =
            run(plan_maker_new(SLICE_LIT("a.test"), &o), matches[i].zone, FORWARD, NULL);
        assert_int_equal(plan_matches_mx(p, slice_str(matches[i].pattern)), matches[i].matches);
        plan_unref(p);
    }
    struct plan *literal = plan_literal(SLICE_LIT("[25.0.0.1]"), &o);
    assert_false(plan_matches_mx(literal, SLICE_LIT("*")));
    plan_unref(literal);
}
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_relays),     cmocka_unit_test(test_relay_faults_are_soft),
        cmocka_unit_test(test_literals),   cmocka_unit_test(test_sites),
        cmocka_unit_test(test_long_sites), cmocka_unit_test(test_order),
        cmocka_unit_test(test_matches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
