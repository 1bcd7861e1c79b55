/* From a domain to its hosts: each row is a rule with its checklist number. If one fails, mail goes
 * to the wrong place, bounces though it need not, or goes round in a circle. Every row is run with
 * the answers in several orders, which must not matter. */
#include "tests/unit/dns/zone.h"

static const struct {
    int number;
    const char *what, *domain, *zone;
    unsigned flags;
    const char *plan, *detail; /* detail: a part of it, NULL = any */
} rules[] = {
    {0, "one host", "a.test", "a.test MX 10 mx.test; mx.test A 25.0.0.1", BOTH,
     "10 mx.test 25.0.0.1:25", ""},
    {0, "by preference, not by answer", "a.test",
     "a.test MX 20 y.test; a.test MX 10 x.test; y.test A 25.0.0.2; x.test A 25.0.0.1", BOTH,
     "10 x.test 25.0.0.1:25; 20 y.test 25.0.0.2:25", ""},
    {0, "a name twice counts once, at its best", "a.test",
     "a.test MX 20 x.test; a.test MX 10 x.test; x.test A 25.0.0.1", BOTH, "10 x.test 25.0.0.1:25",
     ""},
    {0, "not a name", "a b", "", BOTH, "dns_nxdomain", "not a domain name"},
    {0, "an international domain is asked for in ASCII",
     "b\xc3\xbc"
     "cher.test",
     "xn--bcher-kva.test MX 10 mx.test; mx.test A 25.0.0.1", BOTH, "10 mx.test 25.0.0.1:25", ""},

    {35, "NODATA: the domain itself", "a.test", "a.test A 25.0.0.1", BOTH, "0 a.test 25.0.0.1:25",
     ""},
    {35, "NODATA: the domain itself, IPv6", "a.test", "a.test AAAA 2600::1", BOTH,
     "0 a.test [2600::1]:25", ""},
    {35, "no such domain", "a.test", "", BOTH, "dns_nxdomain", "a.test"},
    {35, "a domain without mail", "a.test", "a.test TXT x", BOTH, "dns_nodata",
     "a.test: has no address"},
    {35, "MX unknown is not 'no MX'", "a.test", "a.test MX !servfail; a.test A 25.0.0.1", BOTH,
     "dns_servfail", "a.test: MX"},
    {35, "MX unknown is not 'no MX'", "a.test", "a.test MX !timeout; a.test A 25.0.0.1", BOTH,
     "dns_timeout", "a.test: MX"},
    {35, "address unknown is not 'no address'", "a.test", "a.test A !servfail; a.test TXT x", BOTH,
     "dns_servfail", NULL},
    {35, "address unknown is not 'no address'", "a.test", "a.test AAAA !timeout", BOTH,
     "dns_timeout", NULL},

    {96, "nobody to ask", "a.test", "a.test MX !no-server; a.test A 25.0.0.1", BOTH, "local",
     "a.test: no name server of ours"},
    {96, "nobody to ask any more", "a.test", "a.test MX 10 x.test; x.test A !no-server", BOTH,
     "local", "x.test: no name server of ours"},

    {36, "one of two is enough", "a.test",
     "a.test MX 10 x.test; a.test MX 20 y.test; y.test A 25.0.0.2", BOTH, "20 y.test 25.0.0.2:25",
     ""},
    {36, "a usable one beats a soft one", "a.test",
     "a.test MX 10 x.test; a.test MX 20 y.test; x.test A !servfail; y.test A 25.0.0.2", BOTH,
     "20 y.test 25.0.0.2:25", ""},
    {36, "soft outranks hard", "a.test",
     "a.test MX 10 x.test; a.test MX 20 y.test; y.test A !servfail", BOTH, "dns_servfail",
     "y.test: "},
    {36, "soft outranks hard, the other way round", "a.test",
     "a.test MX 10 x.test; a.test MX 20 y.test; x.test A !timeout; y.test TXT x", BOTH,
     "dns_timeout", "x.test: "},
    {36, "soft outranks private", "a.test",
     "a.test MX 10 x.test; a.test MX 20 y.test; x.test A 10.0.0.1; y.test AAAA !servfail", BOTH,
     "dns_servfail", NULL},
    {36, "all hard", "a.test", "a.test MX 10 x.test; a.test MX 20 y.test; y.test TXT x", BOTH,
     "mx_unresolved", "x.test: does not exist"},

    {37, "AAAA fails, A is fine", "a.test",
     "a.test MX 10 x.test; x.test A 25.0.0.1; x.test AAAA !servfail", BOTH, "10 x.test 25.0.0.1:25",
     ""},
    {37, "A times out, AAAA is fine", "a.test",
     "a.test MX 10 x.test; x.test AAAA 2600::1; x.test A !timeout", BOTH, "10 x.test [2600::1]:25",
     ""},

    {38, "only IPv6 there, only IPv4 here", "a.test", "a.test MX 10 x.test; x.test AAAA 2600::1",
     V4, "connect_failed", "x.test: no address of a family"},
    {38, "only IPv4 there, only IPv6 here", "a.test", "a.test A 25.0.0.1", V6, "connect_failed",
     NULL},
    {38, "another host can be reached", "a.test",
     "a.test MX 10 x.test; a.test MX 20 y.test; x.test AAAA 2600::1; y.test A 25.0.0.2", V4,
     "20 y.test 25.0.0.2:25", ""},
    {38, "only our families are used", "a.test", "a.test A 25.0.0.1; a.test AAAA 2600::1", V4,
     "0 a.test 25.0.0.1:25", ""},

    {39, "null MX", "a.test", "a.test MX 0 .; a.test A 25.0.0.1", BOTH, "null_mx", "a.test"},
    {39, "a dot among others is ignored", "a.test",
     "a.test MX 0 .; a.test MX 10 x.test; x.test A 25.0.0.1", BOTH, "10 x.test 25.0.0.1:25", ""},
    {39, "a dot with a preference is no null MX, nor a host", "a.test",
     "a.test MX 10 .; a.test A 25.0.0.1", BOTH, "mx_unresolved", NULL},

    {40, "MX there, its host not: never the domain's address", "a.test",
     "a.test MX 10 x.test; a.test A 25.0.0.1", BOTH, "mx_unresolved", "x.test"},
    {40, "MX there, its host is no name", "a.test", "a.test MX 10 x\\032y; a.test A 25.0.0.1", BOTH,
     "mx_unresolved", "a.test: its MX records name no host"},

    {41, "we are a backup: only those before us", "a.test",
     "a.test MX 10 x.test; a.test MX 20 us.test; a.test MX 20 y.test; a.test MX 30 z.test; x.test "
     "A 25.0.0.1; us.test A 25.9.9.9; y.test A 25.0.0.2; z.test A 25.0.0.3",
     BOTH, "10 x.test 25.0.0.1:25", ""},
    {41, "we are the best: it would come back", "a.test",
     "a.test MX 10 us.test; a.test MX 20 y.test; us.test A 25.9.9.9; y.test A 25.0.0.2", BOTH,
     "loop", "us.test"},
    {41, "known by one of several addresses", "a.test",
     "a.test MX 10 us.test; us.test A 25.0.0.7; us.test AAAA 2600:9::9", BOTH, "loop", NULL},
    {41, "known by the mapped form of an address", "a.test",
     "a.test MX 10 us.test; us.test AAAA ::ffff:25.9.9.9", BOTH, "loop", NULL},
    {41, "known by name, whatever its address", "a.test",
     "a.test MX 10 relay.own.test; a.test MX 10 b.test; b.test A 25.0.0.2; relay.own.test A "
     "25.0.0.9",
     BOTH, "loop", "relay.own.test"},
    {41, "known by the name behind an alias", "a.test",
     "a.test MX 10 x.test; x.test CNAME relay.own.test; relay.own.test A 25.0.0.9", BOTH, "loop",
     NULL},
    {41, "known by name as a backup", "a.test",
     "a.test MX 10 x.test; a.test MX 20 relay.own.test; x.test A 25.0.0.1", BOTH,
     "10 x.test 25.0.0.1:25", ""},
    {41, "the domain is ourselves, without MX", "a.test", "a.test A 25.9.9.9", BOTH, "loop", NULL},
    {41, "our address, another program's port, as the administrator wants it", "a.test",
     "a.test A 25.9.9.8", BOTH | PRIVATE, "0 a.test 25.9.9.8:25", ""},
    {41, "those before us are gone for now: later", "a.test",
     "a.test MX 10 x.test; a.test MX 20 us.test; us.test A 25.9.9.9; x.test A !servfail", BOTH,
     "dns_servfail", "x.test"},
    {41, "soft ones behind us do not matter", "a.test",
     "a.test MX 10 us.test; a.test MX 20 x.test; us.test A 25.9.9.9; x.test A !servfail", BOTH,
     "loop", NULL},
    {41, "those before us do not exist", "a.test",
     "a.test MX 10 x.test; a.test MX 20 relay.own.test", BOTH, "loop", NULL},

    {42, "families take turns, IPv6 first, eight in all", "a.test",
     "a.test A 25.0.0.1; a.test A 25.0.0.2; a.test A 25.0.0.3; a.test A 25.0.0.4; a.test A "
     "25.0.0.5; a.test A 25.0.0.6; a.test A 25.0.0.7; a.test A 25.0.0.8; "
     "a.test A 25.0.0.9; a.test AAAA 2600::1; a.test AAAA 2600::2",
     BOTH,
     "0 a.test [2600::1]:25 25.0.0.1:25 [2600::2]:25 25.0.0.2:25 25.0.0.3:25 25.0.0.4:25 "
     "25.0.0.5:25 25.0.0.6:25",
     ""},
    {42, "an address twice counts once", "a.test", "a.test A 25.0.0.1; a.test A 25.0.0.1", BOTH,
     "0 a.test 25.0.0.1:25", ""},

    {43, "an alias as mail host keeps its name", "a.test",
     "a.test MX 10 x.test; x.test CNAME y.test; y.test A 25.0.0.1", BOTH, "10 x.test 25.0.0.1:25",
     ""},
    {43, "an address as mail host is no host", "a.test",
     "a.test MX 10 25.0.0.1; a.test MX 20 y.test; y.test A 25.0.0.2", BOTH, "20 y.test 25.0.0.2:25",
     ""},
    {43, "an address as the only mail host", "a.test", "a.test MX 10 25.0.0.1; 25.0.0.1 A 25.0.0.1",
     BOTH, "mx_unresolved", NULL},

    {47, "loopback", "a.test", "a.test A 127.0.0.1", BOTH, "private_address",
     "a.test: no public address"},
    {47, "private, IPv6", "a.test", "a.test MX 10 x.test; x.test AAAA fd00::1", BOTH,
     "private_address", NULL},
    {47, "private, wrapped", "a.test", "a.test AAAA ::ffff:10.0.0.1", BOTH, "private_address",
     NULL},
    {47, "the cloud's metadata service", "a.test", "a.test A 169.254.169.254", BOTH,
     "private_address", NULL},
    {47, "private ones among others are left out", "a.test", "a.test A 10.0.0.1; a.test A 25.0.0.1",
     BOTH, "0 a.test 25.0.0.1:25", ""},
    {47, "private and missing", "a.test",
     "a.test MX 10 x.test; a.test MX 20 y.test; y.test A 10.0.0.1", BOTH, "private_address",
     "y.test"},
    {47, "allowed", "a.test", "a.test A 127.0.0.1; a.test AAAA ::1", BOTH | PRIVATE,
     "0 a.test [::1]:25 127.0.0.1:25", ""},
    {47, "where we listen, another port: waits", "a.test", "a.test A 25.9.9.8", BOTH, "own_address",
     "a.test: is this machine's address"},
    {47, "this machine's address, where we do not listen", "a.test",
     "a.test MX 10 x.test; x.test AAAA 2600:9::7", BOTH, "own_address", "x.test"},
    {47, "this machine's, wrapped", "a.test", "a.test AAAA ::ffff:25.9.9.7", BOTH, "own_address",
     NULL},
    {47, "this machine's among others is left out, and nobody behind it is", "a.test",
     "a.test MX 10 x.test; a.test MX 20 y.test; x.test A 25.9.9.7; y.test A 25.0.0.1", BOTH,
     "20 y.test 25.0.0.1:25", ""},
    {47, "this machine's, as the administrator wants it", "a.test", "a.test A 25.9.9.7",
     BOTH | PRIVATE, "0 a.test 25.9.9.7:25", ""},
    {47, "never, allowed or not", "a.test",
     "a.test A 0.0.0.0; a.test A 224.0.0.1; a.test A 255.255.255.255; a.test AAAA ::",
     BOTH | PRIVATE, "private_address", NULL},
};

static void run_rule(size_t i, enum order order)
{
    struct plan_options o = options_of(rules[i].flags);
    struct plan *p =
        run(plan_maker_new(slice_str(rules[i].domain), &o), rules[i].zone, order, NULL);
    DEFER(buf_done) struct buf b = BUF_MAX(8192);
    const char *got = text_of(p, &b);
    if (strcmp(got, rules[i].plan) != 0)
        fail_msg("%d %s: got %s (%s), not %s", rules[i].number, rules[i].what, got, p->detail,
                 rules[i].plan);
    if (rules[i].detail && strncmp(p->detail, rules[i].detail, strlen(rules[i].detail)) != 0)
        fail_msg("%d %s: detail %s", rules[i].number, rules[i].what, p->detail);
    plan_unref(p);
}

static void test_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        for (enum order order = FORWARD; order <= SHUFFLED; order++)
            run_rule(i, order);
}

/* 42: a domain with hundreds of records costs 41 questions and 20 hosts, the most preferred ones.
 */
static void test_caps(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf zone = BUF_MAX(1 << 20);
    for (unsigned i = 300; i-- > 0;)
        buf_addf(&zone, "a.test MX %u h%u.test; h%u.test A 25.0.%u.%u;", i, i, i, i / 200,
                 i % 200 + 1);
    struct plan_options o = options_of(BOTH);
    size_t asked;
    struct plan *p = run(plan_maker_new(SLICE_LIT("a.test"), &o), buf_str(&zone), SHUFFLED, &asked);
    assert_int_equal(asked, 41);
    assert_int_equal(p->n, 20);
    assert_string_equal(p->hosts[0].name, "h0.test");
    assert_string_equal(p->hosts[19].name, "h19.test");
    assert_true(strlen(p->site) < sizeof p->site);
    assert_int_equal(p->ttl_s, 300);
    plan_unref(p);
}

/* 42: that the hosts which are looked at are not there says nothing about the rest, and bounces
 * nothing; of exactly as many as are looked at it does. */
static void test_cut(void **state)
{
    (void)state;
    for (unsigned n = 20; n <= 22; n++) {
        DEFER(buf_done) struct buf zone = BUF_MAX(1 << 20);
        for (unsigned i = 0; i < n; i++)
            buf_addf(&zone, "a.test MX %u h%u.test;", i, i);
        buf_addf(&zone, "h%u.test A 25.0.0.1;", n == 20 ? 99 : n - 1);
        struct plan_options o = options_of(BOTH);
        struct plan *p =
            run(plan_maker_new(SLICE_LIT("a.test"), &o), buf_str(&zone), SHUFFLED, NULL);
        assert_string_equal(fault_name(p->fault), n == 20 ? "mx_unresolved" : "dns_servfail");
        if (n > 20)
            assert_string_equal(p->detail, "a.test: none of its first 20 mail hosts is there");
        plan_unref(p);
    }
}

/* A host that can be reached over our only family costs one question. */
static void test_other_family_is_not_asked(void **state)
{
    (void)state;
    struct plan_options o = options_of(V4);
    size_t asked;
    struct plan *p = run(plan_maker_new(SLICE_LIT("a.test"), &o),
                         "a.test MX 10 x.test; x.test A 25.0.0.1", FORWARD, &asked);
    assert_int_equal(asked, 2);
    plan_unref(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_caps),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_other_family_is_not_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
