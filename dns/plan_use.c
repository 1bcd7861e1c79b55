/* Plans without questions, and what is done with a plan that is made. */
#include "dns/host.h"
#include "dns/name.h"
#include "dns/plan.h"
#include "relay/base/must.h"
#include <stdio.h>
#include <stdlib.h>

static void plan_free(struct frozen *f)
{
    free(f);
}

struct plan *plan_nowhere(void)
{
    struct plan *p = must_alloc(sizeof *p);
    frozen_init(&p->frozen, plan_free);
    p->ttl_s = UINT32_MAX;
    return p;
}

/* RFC 5321 section 4.1.3; IPv6 only with its tag. */
static bool parse_literal(struct slice text, struct dns_ip *ret)
{
    if (text.n < 2 || text.p[0] != '[' || text.p[text.n - 1] != ']')
        return false;
    struct slice inner = slice_of(text.p + 1, text.n - 2);
    bool is_tagged = slice_istarts(inner, SLICE_LIT("IPv6:"));
    struct dns_ip ip;
    if (!dns_ip_parse(slice_skip(inner, is_tagged ? 5 : 0), &ip) ||
        (ip.family == AF_INET6) != is_tagged || dns_ip_reach(&ip) == IP_NEVER)
        return false;
    *ret = dns_ip_plain(&ip);
    return true;
}

struct plan *plan_literal(struct slice literal, const struct plan_options *o)
{
    struct plan *p = must_alloc(sizeof *p + sizeof p->hosts[0]);
    frozen_init(&p->frozen, plan_free);
    p->ttl_s = UINT32_MAX;
    struct dns_ip ip;
    if (!parse_literal(literal, &ip)) {
        p->fault = FAULT_BAD_LITERAL;
        return p;
    }
    char text[46];
    dns_ip_text(&ip, text);
    snprintf(p->site, sizeof p->site, "[%s%s]", ip.family == AF_INET6 ? "IPv6:" : "", text);

    struct dns_answer *a = dns_answer_new(DNS_OK, DNS_A, 0);
    dns_answer_add_ip(a, ip.family, ip.bytes);
    struct host_rules rules = {o, o->port, o->allow_private, ""};
    struct host_finding f;
    host_judge(a, NULL, &rules, &f);
    dns_answer_unref(a);
    p->fault = f.fault;
    if (f.fault != FAULT_NONE) {
        snprintf(p->detail, sizeof p->detail, "%.100s: %.100s", p->site, f.why);
        return p;
    }
    p->n = 1;
    p->hosts[0].n = 1;
    p->hosts[0].addrs[0] = dns_ip_sockaddr(&ip, o->port);
    return p;
}

/* 42: Fisher-Yates inside each run of equal preference. */
void plan_order(const struct plan *p, struct rng *r, size_t *ret_order)
{
    for (size_t i = 0; i < p->n; i++)
        ret_order[i] = i;
    for (size_t from = 0, to; from < p->n; from = to) {
        for (to = from + 1; to < p->n && p->hosts[to].preference == p->hosts[from].preference;)
            to++;
        for (size_t left = to - from; left > 1; left--) {
            size_t a = from + left - 1, b = from + (size_t)rng_below(r, left);
            size_t was = ret_order[a];
            ret_order[a] = ret_order[b];
            ret_order[b] = was;
        }
    }
}

/* The mail goes to the best hosts: all of them must match, or else a domain with one foreign MX
 * would be handled as what it is only in part. */
bool plan_matches_mx(const struct plan *p, struct slice pattern)
{
    for (size_t i = 0; i < p->n && p->hosts[i].preference == p->hosts[0].preference; i++)
        if (p->hosts[i].name[0] == 0 || !slice_glob(pattern, slice_str(p->hosts[i].name)))
            return false;
    return p->n > 0;
}
