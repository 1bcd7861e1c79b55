/* For tests of plans: a zone as text, "NAME TYPE VALUE; …" (VALUE "!servfail" or "!timeout" or
 * "!no-server" for trouble), a maker run over it with the answers in a given order, and the plan as
 * text. */
#pragma once
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

static inline bool is_type(struct slice s, enum dns_type type)
{
    return slice_eq(s, slice_str(type == DNS_MX ? "MX" : type == DNS_A ? "A" : "AAAA"));
}

static inline void add_value(struct dns_answer *a, struct slice value)
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

static inline struct dns_answer *look_up(const char *zone, const struct plan_question *q)
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
        a->status = slice_eq(line, SLICE_LIT("!servfail"))    ? DNS_SERVFAIL
                    : slice_eq(line, SLICE_LIT("!timeout"))   ? DNS_TIMEOUT
                    : slice_eq(line, SLICE_LIT("!no-server")) ? DNS_NO_SERVER
                                                              : DNS_OK;
        if (a->status == DNS_OK)
            add_value(a, line);
    }
    return a;
}

enum order { FORWARD, BACKWARD, SHUFFLED };

static inline struct plan *run(struct plan_maker *m, const char *zone, enum order order,
                               size_t *ret_asked)
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

static inline void write_addr(struct buf *b, const struct sockaddr_storage *s)
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
static inline const char *text_of(const struct plan *p, struct buf *b)
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

static inline struct sockaddr_storage v4(const char *text, uint16_t port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    assert_int_equal(inet_pton(AF_INET, text, &in.sin_addr), 1);
    struct sockaddr_storage s = {0};
    memcpy(&s, &in, sizeof in);
    return s;
}

static inline struct sockaddr_storage v6(const char *text, uint16_t port)
{
    struct sockaddr_in6 in = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    assert_int_equal(inet_pton(AF_INET6, text, &in.sin6_addr), 1);
    struct sockaddr_storage s = {0};
    memcpy(&s, &in, sizeof in);
    return s;
}

enum { V4 = 1, V6 = 2, PRIVATE = 4, BOTH = V4 | V6 };

/* We: relay.own.test, 25.9.9.9 and 2600:9::9 on port 25, 25.9.9.8 on port 587; and 25.9.9.7 and
 * 2600:9::7 are this machine's. */
static struct sockaddr_storage own[3], here[2];

static inline struct plan_options options_of(unsigned flags)
{
    own[0] = v4("25.9.9.9", 25);
    own[1] = v6("2600:9::9", 0);
    own[2] = v4("25.9.9.8", 587);
    here[0] = v4("25.9.9.7", 0);
    here[1] = v6("2600:9::7", 0);
    return (struct plan_options){.port = 25,
                                 .allow_private = flags & PRIVATE,
                                 .ipv4 = flags & V4,
                                 .ipv6 = flags & V6,
                                 .own = own,
                                 .n_own = 3,
                                 .here = here,
                                 .n_here = 2,
                                 .own_hostname = SLICE_LIT("Relay.Own.test")};
}
