/* From a domain to its hosts: each row is a rule with its checklist number. If one fails, mail goes
 * to the wrong place, bounces though it need not, or goes round in a circle. Every row is run with
 * the answers in several orders, which must not matter. */
#include "dns/plan.h"
#include "relay/base/buf.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* --- a zone as text: "NAME TYPE VALUE; …", VALUE "!servfail" or "!timeout" for trouble
 * ------------------------------------------------------------------ */

static bool is_type(struct slice s, enum dns_type type)
{
    return slice_eq(s, slice_str(type == DNS_MX ? "MX" : type == DNS_A ? "A" : "AAAA"));
}

static void add_value(struct dns_answer *a, struct slice value)
{
    char text[DNS_NAME_SIZE] = "";
    if (a->type == DNS_MX) {
        uint64_t preference;
        assert_true(slice_u64(slice_cut(&value, ' '), 65535, &preference));
        memcpy(text, value.p, value.n);
        dns_answer_add_mx(a, (uint16_t)preference, strcmp(text, ".") == 0 ? "" : text);
        return;
    }
    uint8_t bytes[16];
    int family = a->type == DNS_A ? AF_INET : AF_INET6;
    memcpy(text, value.p, value.n);
    assert_int_equal(inet_pton(family, text, bytes), 1);
    dns_answer_add_ip(a, family, bytes);
}

static struct dns_answer *look_up(const char *zone, const struct plan_question *q)
{
    struct dns_answer *a = dns_answer_new(DNS_NXDOMAIN, q->type, 300);
    memcpy(a->canonical, q->name, sizeof a->canonical);
    for (struct slice rest = slice_str(zone); rest.n;) {
        struct slice line = slice_trim(slice_cut(&rest, ';'));
        struct slice name = slice_cut(&line, ' '), type = slice_cut(&line, ' ');
        if (!slice_eq(name, slice_str(q->name)))
            continue;
        if (a->status == DNS_NXDOMAIN)
            a->status = DNS_NODATA;
        if (slice_eq(type, SLICE_LIT("CNAME")) && q->type != DNS_MX) {
            struct plan_question to = {.type = q->type};
            memcpy(to.name, line.p, line.n);
            dns_answer_unref(a);
            return look_up(zone, &to);
        }
        if (!is_type(type, q->type))
            continue;
        a->status = slice_eq(line, SLICE_LIT("!servfail"))  ? DNS_SERVFAIL
                    : slice_eq(line, SLICE_LIT("!timeout")) ? DNS_TIMEOUT
                                                            : DNS_OK;
        if (a->status == DNS_OK)
            add_value(a, line);
    }
    return a;
}

/* --- running a maker
 * -------------------------------------------------------------------------------------------------------------------------
 */

enum order { FORWARD, BACKWARD, SHUFFLED };

static struct plan *run(struct plan_maker *m, const char *zone, enum order order, size_t *ret_asked)
{
    struct plan_question open[64];
    size_t n = 0, asked = 0;
    struct rng r;
    struct plan *p;
    rng_seed(&r, 7);
    while (!(p = plan_maker_done(m))) {
        while (plan_maker_next(m, &open[n])) {
            n++;
            asked++;
            assert_true(asked <= 41);
        }
        assert_true(n > 0); /* not done, and nothing to ask: stuck */
        size_t at = order == FORWARD ? 0 : order == BACKWARD ? n - 1 : (size_t)rng_below(&r, n);
        struct plan_question q = open[at];
        memmove(&open[at], &open[at + 1], (n - at - 1) * sizeof open[0]);
        n--;
        struct dns_answer *a = look_up(zone, &q);
        plan_maker_answer(m, &q, a);
        plan_maker_answer(m, &q, a); /* a second answer changes nothing */
        dns_answer_unref(a);
    }
    if (ret_asked)
        *ret_asked = asked;
    plan_maker_free(m);
    return p;
}

static void write_addr(struct buf *b, const struct sockaddr_storage *s)
{
    char text[INET6_ADDRSTRLEN];
    if (s->ss_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, s, sizeof in);
        buf_addf(b, " %s:%u", inet_ntop(AF_INET, &in.sin_addr, text, sizeof text),
                 ntohs(in.sin_port));
    } else {
        struct sockaddr_in6 in;
        memcpy(&in, s, sizeof in);
        buf_addf(b, " [%s]:%u", inet_ntop(AF_INET6, &in.sin6_addr, text, sizeof text),
                 ntohs(in.sin6_port));
    }
}

/* "fault" or "10 mx1.test 25.0.0.1:25; 20 …" */
static const char *text_of(const struct plan *p, struct buf *b)
{
    assert_true((p->fault == FAULT_NONE) == (p->n > 0));
    if (p->fault != FAULT_NONE)
        buf_add_str(b, fault_name(p->fault));
    for (size_t i = 0; i < p->n; i++) {
        buf_addf(b, "%s%u %s", i ? "; " : "", p->hosts[i].preference, p->hosts[i].name);
        for (size_t k = 0; k < p->hosts[i].n; k++)
            write_addr(b, &p->hosts[i].addrs[k]);
    }
    return buf_str(b);
}

static struct sockaddr_storage v4(const char *text, uint16_t port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    assert_int_equal(inet_pton(AF_INET, text, &in.sin_addr), 1);
    struct sockaddr_storage s = {0};
    memcpy(&s, &in, sizeof in);
    return s;
}

static struct sockaddr_storage v6(const char *text, uint16_t port)
{
    struct sockaddr_in6 in = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    assert_int_equal(inet_pton(AF_INET6, text, &in.sin6_addr), 1);
    struct sockaddr_storage s = {0};
    memcpy(&s, &in, sizeof in);
    return s;
}

enum { V4 = 1, V6 = 2, PRIVATE = 4, BOTH = V4 | V6 };

/* We: relay.own.test, 25.9.9.9 and 2600:9::9 on port 25, 25.9.9.8 on port 587. */
static struct sockaddr_storage own[3];

static struct plan_options options_of(unsigned flags)
{
    own[0] = v4("25.9.9.9", 25);
    own[1] = v6("2600:9::9", 0);
    own[2] = v4("25.9.9.8", 587);
    return (struct plan_options){.port = 25,
                                 .allow_private = flags & PRIVATE,
                                 .ipv4 = flags & V4,
                                 .ipv6 = flags & V6,
                                 .own = own,
                                 .n_own = 3,
                                 .own_hostname = SLICE_LIT("Relay.Own.test")};
}

/* --- the rules
 * -------------------------------------------------------------------------------------------------------------------------------
 */

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
    {35, "no such domain", "a.test", "", BOTH, "dns_nxdomain", "a.test: does not exist"},
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
    {41, "our address, another program's port", "a.test", "a.test A 25.9.9.8", BOTH,
     "0 a.test 25.9.9.8:25", ""},
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
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_caps),
        cmocka_unit_test(test_other_family_is_not_asked),
        cmocka_unit_test(test_relays),
        cmocka_unit_test(test_relay_faults_are_soft),
        cmocka_unit_test(test_literals),
        cmocka_unit_test(test_sites),
        cmocka_unit_test(test_long_sites),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_matches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
