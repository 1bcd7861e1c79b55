/* First byte: options; the rest is a world of answers, read as a tape that belongs to the question
 * (so that the order of asking changes nothing). Laws: the maker ends after at most 41 questions;
 * the order of answers does not matter; a plan has hosts exactly when it has no fault; they are
 * sorted, sendable, never ours, never private unless allowed; the order for one delivery is a
 * permutation that keeps preferences. */
#include "dns/plan.h"
#include "dns/ip.h"
#include "relay/base/must.h"
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const hosts[] = {"",           "a.test",     "b.test",   "own.test",
                                    "mx1.c.test", "mx2.c.test", "25.0.0.1", "x\\032y"};
static const char *const texts[] = {"25.0.0.1", "25.0.0.2", "127.0.0.1", "25.9.9.9",
                                    "0.0.0.0",  "::1",      "2600::1",   "::ffff:25.9.9.9"};

static unsigned tape(struct slice world, const struct plan_question *q, unsigned i)
{
    unsigned at = (unsigned)q->type * 7 + i * 13;
    for (const char *p = q->name; *p; p++)
        at = at * 31 + (unsigned char)*p;
    return world.n ? world.p[at % world.n] ^ (at >> 16 & 0xff) : 0;
}

static struct dns_answer *answer(struct slice world, const struct plan_question *q)
{
    static const enum dns_status statuses[] = {DNS_OK,     DNS_OK,       DNS_OK,      DNS_NXDOMAIN,
                                               DNS_NODATA, DNS_SERVFAIL, DNS_TIMEOUT, DNS_OK};
    struct dns_answer *a =
        dns_answer_new(statuses[tape(world, q, 0) % 8], q->type, tape(world, q, 1));
    unsigned n = a->status == DNS_OK ? 1 + tape(world, q, 2) % 40 : 0;
    memcpy(a->canonical, q->name, sizeof a->canonical);
    for (unsigned i = 0; i < n; i++) {
        unsigned x = tape(world, q, 3 + 2 * i), y = tape(world, q, 4 + 2 * i);
        if (q->type == DNS_MX) {
            char name[DNS_NAME_SIZE];
            snprintf(name, sizeof name, "h%u.test", x);
            dns_answer_add_mx(a, (uint16_t)(y % 8), x < 128 ? hosts[x % 8] : name);
            continue;
        }
        struct dns_ip ip;
        MUST(dns_ip_parse(slice_str(texts[q->type == DNS_A ? x % 5 : 5 + x % 3]), &ip));
        if (x >= 128)
            ip.bytes[3] = (uint8_t)y;
        dns_answer_add_ip(a, ip.family, ip.bytes);
    }
    return a;
}

static struct plan *make(struct plan_maker *m, struct slice world, bool backward)
{
    struct plan_question open[64];
    size_t n = 0, asked = 0;
    struct plan *p;
    while (!(p = plan_maker_done(m))) {
        while (plan_maker_next(m, &open[n])) {
            n++;
            MUST(++asked <= 41);
        }
        MUST(n > 0);
        struct plan_question q = backward ? open[n - 1] : open[0];
        if (!backward)
            memmove(open, open + 1, (n - 1) * sizeof open[0]);
        n--;
        struct dns_answer *a = answer(world, &q);
        plan_maker_answer(m, &q, a);
        dns_answer_unref(a);
    }
    plan_maker_free(m);
    return p;
}

static void check_host(const struct plan_host *h, const struct plan_options *o, bool is_relay)
{
    MUST(h->n > 0 && h->n <= 8);
    for (size_t i = 0; i < h->n; i++) {
        struct dns_ip ip, own;
        uint16_t port;
        MUST(dns_ip_of_sockaddr(&h->addrs[i], &ip, &port) && port > 0);
        MUST(ip.family == AF_INET ? o->ipv4 : o->ipv6);
        MUST(dns_ip_reach(&ip) == IP_PUBLIC ||
             (dns_ip_reach(&ip) == IP_PRIVATE && (o->allow_private || is_relay)));
        MUST(dns_ip_parse(SLICE_LIT("25.9.9.9"), &own) && !dns_ip_eq(&ip, &own));
    }
}

static void check_order(const struct plan *p)
{
    size_t order[32], seen = 0;
    struct rng r;
    rng_seed(&r, p->ttl_s);
    plan_order(p, &r, order);
    for (size_t i = 0; i < p->n; i++) {
        seen |= (size_t)1 << order[i];
        MUST(p->hosts[order[i]].preference == p->hosts[i].preference);
        MUST(i == 0 || p->hosts[i - 1].preference <= p->hosts[i].preference);
    }
    MUST(seen == ((size_t)1 << p->n) - 1);
}

static void check(const struct plan *p, const struct plan_options *o, bool is_relay)
{
    MUST((p->fault == FAULT_NONE) == (p->n > 0) && p->n <= 20 && p->fault < FAULT_COUNT);
    MUST(p->fault == FAULT_NONE || p->detail[0]);
    MUST(p->n == 0 || p->site[0]);
    for (size_t i = 0; i < p->n; i++)
        check_host(&p->hosts[i], o, is_relay);
    check_order(p);
    if (p->fault == FAULT_NONE)
        return;
    struct verdict v = verdict_of_fault(p->fault, PHASE_CONNECT, slice_str(p->detail));
    MUST(!is_relay || v.kind == VERDICT_DEFERRED); /* 44 */
    verdict_done(&v);
}

static struct plan_maker *maker_of(unsigned flags, struct slice world, const struct plan_options *o)
{
    if (!(flags & 8))
        return plan_maker_new(flags & 32 ? slice_head(world, 300) : SLICE_LIT("a.test"), o);
    struct slice rest = world, list[30];
    size_t n = 0;
    while (rest.n && n < 30)
        list[n++] = slice_cut(&rest, ',');
    return plan_maker_relay(list, n, o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    unsigned flags = data[0];
    struct slice world = slice_of(data + 1, size - 1);
    struct dns_ip ip;
    MUST(dns_ip_parse(SLICE_LIT("25.9.9.9"), &ip));
    struct sockaddr_storage own = dns_ip_sockaddr(&ip, 0);
    const struct plan_options o = {.port = 25,
                                   .ipv4 = flags & 1,
                                   .ipv6 = flags & 2,
                                   .allow_private = flags & 4,
                                   .own = &own,
                                   .n_own = 1,
                                   .own_hostname = flags & 16 ? SLICE_LIT("own.test") : SLICE_NONE};
    struct plan *a = make(maker_of(flags, world, &o), world, false);
    struct plan *b = make(maker_of(flags, world, &o), world, true);
    check(a, &o, flags & 8);
    MUST(a->fault == b->fault && a->n == b->n && a->ttl_s == b->ttl_s &&
         strcmp(a->detail, b->detail) == 0 && strcmp(a->site, b->site) == 0);
    for (size_t i = 0; i < a->n; i++)
        MUST(memcmp(&a->hosts[i], &b->hosts[i], sizeof a->hosts[i]) == 0);
    plan_unref(a);
    plan_unref(b);
    struct plan *literal = plan_literal(world, &o);
    MUST((literal->fault == FAULT_NONE) == (literal->n == 1));
    for (size_t i = 0; i < literal->n; i++)
        check_host(&literal->hosts[i], &o, false);
    plan_unref(literal);
    return 0;
}
