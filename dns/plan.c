/*
 * MX -> hosts -> addresses -> plan. Each step asks all its questions at once; a step begins when
 * every question of the one before is answered, so the order in which answers come changes nothing.
 *
 * By number, as in the comments below:
 * - 35 no MX -> the domain itself
 * - 36 soft outranks hard
 * - 37 one family is enough
 * - 38 no family in common is soft
 * - 39 null MX
 * - 40 MX there -> never the domain
 * - 41 ourselves and all behind us
 * - 42 caps, both families
 * - 43 aliases are followed, names stay as they were written
 * - 44 relay hosts: hard is soft
 * - 46 literals (plan_literal)
 * - 47 private addresses
 */
#include "dns/plan.h"
#include "dns/host.h"
#include "dns/name.h"
#include "dns/site.h"
#include "relay/base/must.h"
#include <stdio.h>
#include <stdlib.h>

enum { HOSTS_MAX = 20, QUESTIONS_MAX = 1 + 2 * HOSTS_MAX, NO_PREFERENCE = UINT16_MAX + 1 };
enum step { STEP_MX, STEP_HOSTS, STEP_DONE };

struct asked {
    struct plan_question q;
    bool is_open;
    struct dns_answer *answer; /* ref'd; NULL: not answered */
};

struct target {
    char name[DNS_NAME_SIZE]; /* "" for an address */
    uint16_t preference, port;
    struct dns_answer *literal;  /* instead of answers, for an address */
    const struct asked *a4, *a6; /* NULL: not asked */
    struct host_finding finding;
};

struct plan_maker {
    struct plan_options o; /* o.own and o.here are ours */
    char own_name[DNS_NAME_SIZE];
    bool is_relay, is_implicit;
    bool is_cut; /* 42: there are more hosts than are looked at */
    char domain[DNS_NAME_SIZE];
    enum step step;
    struct asked asked[QUESTIONS_MAX];
    size_t n_asked, n_given, n_answered;
    struct target targets[HOSTS_MAX];
    size_t n_targets;
    uint32_t self_preference; /* 41: this and higher numbers are out; NO_PREFERENCE: nothing is */
    uint32_t ttl_s;
    enum fault fault;
    char detail[300], site[SITE_SIZE];
};

static void end(struct plan_maker *m, enum fault fault, const char *name, const char *why)
{
    m->step = STEP_DONE;
    m->fault = fault;
    if (fault == FAULT_DNS_NXDOMAIN) /* which says it */
        why = "";
    snprintf(m->detail, sizeof m->detail, "%.253s%s%.40s", name, why[0] ? ": " : "", why);
}

static const struct asked *ask(struct plan_maker *m, const char *name, enum dns_type type)
{
    for (size_t i = 0; i < m->n_asked; i++)
        if (m->asked[i].q.type == type && strcmp(m->asked[i].q.name, name) == 0)
            return &m->asked[i];
    MUST(m->n_asked < QUESTIONS_MAX);
    struct asked *a = &m->asked[m->n_asked++];
    a->q.type = type;
    memcpy(a->q.name, name, DNS_NAME_SIZE);
    return a;
}

static struct sockaddr_storage *copy_of(const struct sockaddr_storage *list, size_t n)
{
    struct sockaddr_storage *copy = must_alloc(n * sizeof *copy);
    if (n)
        memcpy(copy, list, n * sizeof *copy);
    return copy;
}

static struct plan_maker *maker_new(const struct plan_options *o)
{
    struct plan_maker *m = must_alloc(sizeof *m);
    m->o = *o;
    m->o.own = copy_of(o->own, o->n_own);
    m->o.here = copy_of(o->here, o->n_here);
    m->o.own_hostname = SLICE_NONE;
    (void)dns_name_parse(o->own_hostname, m->own_name);
    m->self_preference = NO_PREFERENCE;
    m->ttl_s = 86400;
    return m;
}

struct plan_maker *plan_maker_new(struct slice domain, const struct plan_options *o)
{
    struct plan_maker *m = maker_new(o);
    if (!dns_name_parse(domain, m->domain)) {
        end(m, FAULT_DNS_NXDOMAIN, "not a domain name", "");
        return m;
    }
    ask(m, m->domain, DNS_MX);
    return m;
}

static struct target *add_target(struct plan_maker *m, const char *name, uint16_t preference)
{
    struct target *t = &m->targets[m->n_targets++];
    memcpy(t->name, name, DNS_NAME_SIZE);
    t->preference = preference;
    t->port = m->o.port;
    return t;
}

/* Families that we cannot send from are asked for only when the others gave nothing (see
 * ask_other_family). */
static void ask_addresses(struct plan_maker *m)
{
    bool any = !m->o.ipv4 && !m->o.ipv6;
    m->step = STEP_HOSTS;
    for (size_t i = 0; i < m->n_targets; i++) {
        struct target *t = &m->targets[i];
        if (t->literal)
            continue;
        if (m->o.ipv6 || any)
            t->a6 = ask(m, t->name, DNS_AAAA);
        if (m->o.ipv4 || any)
            t->a4 = ask(m, t->name, DNS_A);
    }
}

static struct dns_answer *literal_answer(const struct dns_ip *ip)
{
    struct dns_answer *a =
        dns_answer_new(DNS_OK, ip->family == AF_INET ? DNS_A : DNS_AAAA, UINT32_MAX);
    dns_answer_add_ip(a, ip->family, ip->bytes);
    return a;
}

struct plan_maker *plan_maker_relay(const struct slice *hosts, size_t n,
                                    const struct plan_options *o)
{
    struct plan_maker *m = maker_new(o);
    char texts[HOSTS_MAX][DNS_NAME_SIZE + 8] = {{0}};
    const char *names[HOSTS_MAX] = {0};
    m->is_relay = true;
    for (size_t i = 0; i < n && m->n_targets < HOSTS_MAX; i++) {
        char name[DNS_NAME_SIZE] = "";
        struct dns_ip ip;
        uint16_t port;
        if (!host_parse(hosts[i], o->port, name, &ip,
                        &port)) /* check refuses it; 44 all the same */
            continue;
        size_t at = m->n_targets;
        struct target *t = add_target(m, name, (uint16_t)at);
        t->port = port;
        if (ip.family) {
            t->literal = literal_answer(&ip);
            dns_ip_text(&ip, name);
        }
        snprintf(texts[at], sizeof texts[at], ip.family == AF_INET6 ? "[%.255s]:%u" : "%.255s:%u",
                 name, (unsigned)port);
        names[at] = texts[at];
    }
    site_name(names, m->n_targets, m->site);
    ask_addresses(m);
    if (m->n_targets == 0)
        end(m, FAULT_LOCAL, "the destination's relay list names no host", "");
    return m;
}

void plan_maker_free(struct plan_maker *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n_asked; i++)
        dns_answer_unref(m->asked[i].answer);
    for (size_t i = 0; i < m->n_targets; i++)
        dns_answer_unref(m->targets[i].literal);
    free((void *)(uintptr_t)m->o.own);
    free((void *)(uintptr_t)m->o.here);
    free(m);
}

/* --- the MX answer ------------------------------------------------------------------------- */

static bool is_usable_name(const char *name)
{
    char parsed[DNS_NAME_SIZE];
    return dns_name_parse(slice_str(name), parsed);
}

static bool is_listed(const char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* The distinct host names, most preferred first. "." among others (39) and what is no host name, an
 * address above all (43), are left out. */
static size_t list_names(const struct dns_answer *a, const char **ret_names, uint16_t *ret_prefs)
{
    size_t n = 0;
    for (size_t i = 0; i < a->n; i++) {
        if (!is_usable_name(a->mx[i].target) || is_listed(ret_names, n, a->mx[i].target))
            continue;
        ret_names[n] = a->mx[i].target;
        ret_prefs[n++] = a->mx[i].preference;
    }
    return n;
}

static void read_mx_list(struct plan_maker *m, const struct dns_answer *a)
{
    const char *names[DNS_MX_MAX] = {0};
    uint16_t prefs[DNS_MX_MAX];
    size_t n = list_names(a, names, prefs);
    site_name(names, n, m->site);
    for (size_t i = n; i-- > 0;)
        if (m->own_name[0] && strcmp(names[i], m->own_name) == 0) /* 41 */
            m->self_preference = prefs[i];
    for (size_t i = 0; i < n && prefs[i] < m->self_preference; i++) {
        m->is_cut = m->n_targets == HOSTS_MAX;
        if (!m->is_cut)
            add_target(m, names[i], prefs[i]);
    }
    ask_addresses(m);
    if (m->n_targets > 0)
        return;
    if (m->self_preference != NO_PREFERENCE)
        end(m, FAULT_LOOP, m->own_name, "this host is the domain's best MX");
    else
        end(m, FAULT_MX_UNRESOLVED, m->domain, "its MX records name no host"); /* 40 */
}

static void read_mx(struct plan_maker *m, const struct dns_answer *a)
{
    switch (a->status) {
    case DNS_SERVFAIL:
        end(m, FAULT_DNS_SERVFAIL, m->domain, "MX");
        return;
    case DNS_TIMEOUT:
        end(m, FAULT_DNS_TIMEOUT, m->domain, "MX");
        return;
    case DNS_NO_SERVER: /* 96 */
        end(m, FAULT_LOCAL, m->domain, "no name server of ours can be reached");
        return;
    case DNS_NXDOMAIN:
    case DNS_NODATA: /* 35 */
        m->is_implicit = true;
        snprintf(m->site, sizeof m->site, "%s", m->domain);
        add_target(m, m->domain, 0);
        ask_addresses(m);
        return;
    case DNS_OK:
        if (a->n == 1 && a->mx[0].preference == 0 && a->mx[0].target[0] == 0) /* 39 */
            end(m, FAULT_NULL_MX, m->domain, "");
        else
            read_mx_list(m, a);
        return;
    }
    UNREACHABLE();
}

/* --- the hosts' answers -------------------------------------------------------------------- */

static struct host_rules rules_for(const struct plan_maker *m, const struct target *t)
{
    return (struct host_rules){&m->o, t->port, m->o.allow_private || m->is_relay,
                               m->is_relay ? "" : m->own_name};
}

static void judge(struct plan_maker *m, struct target *t)
{
    struct host_rules rules = rules_for(m, t);
    const struct dns_answer *a4 = t->literal ? t->literal : t->a4 ? t->a4->answer : NULL;
    host_judge(a4, t->a6 ? t->a6->answer : NULL, &rules, &t->finding);
}

/* 38: "no address" is true only when the other family has none either. */
static bool ask_other_family(struct plan_maker *m)
{
    size_t before = m->n_asked;
    for (size_t i = 0; i < m->n_targets; i++) {
        struct target *t = &m->targets[i];
        if (t->literal || t->finding.state != HOST_NONE)
            continue;
        if (!t->a4)
            t->a4 = ask(m, t->name, DNS_A);
        if (!t->a6)
            t->a6 = ask(m, t->name, DNS_AAAA);
    }
    return m->n_asked > before;
}

static const struct target *first_in_state(const struct plan_maker *m, enum host_state state)
{
    for (size_t i = 0; i < m->n_targets; i++) {
        const struct target *t = &m->targets[i];
        bool is_behind_us = t->preference >= m->self_preference && state != HOST_SELF;
        if (t->finding.state == state && !is_behind_us)
            return t;
    }
    return NULL;
}

static void end_at_host(struct plan_maker *m, enum fault fault, const struct target *t)
{
    end(m, fault, t->name[0] ? t->name : m->site, t->finding.why);
}

/* 35: NXDOMAIN only when every answer says so. */
static enum fault fault_without_address(const struct plan_maker *m, const struct target *t)
{
    if (!m->is_implicit)
        return FAULT_MX_UNRESOLVED;
    bool all_nxdomain =
        t->finding.fault == FAULT_DNS_NXDOMAIN && m->asked[0].answer->status == DNS_NXDOMAIN;
    return all_nxdomain ? FAULT_DNS_NXDOMAIN : FAULT_DNS_NODATA;
}

/* Nothing to try: 36, the first soft reason outranks all hard ones; of these the one that says
 * most. 42: what is true of the first hosts is not certain of all. */
static void end_without_hosts(struct plan_maker *m)
{
    static const enum host_state by_weight[] = {HOST_SOFT, HOST_SELF, HOST_PRIVATE, HOST_NONE};
    const struct target *t = NULL;
    for (size_t i = 0; !t && i < sizeof by_weight / sizeof by_weight[0]; i++)
        t = first_in_state(m, by_weight[i]);
    MUST(t != NULL);
    const bool is_hard = t->finding.state != HOST_SOFT && t->finding.state != HOST_SELF;
    if (is_hard && m->is_cut)
        end(m, FAULT_DNS_SERVFAIL, m->domain, "none of its first 20 mail hosts is there");
    else if (is_hard && m->self_preference != NO_PREFERENCE) /* 41: those before us are not there */
        end(m, FAULT_LOOP, m->own_name, "this host is the best MX that can be used");
    else if (t->finding.state == HOST_NONE)
        end_at_host(m, fault_without_address(m, t), t);
    else
        end_at_host(m, t->finding.fault, t);
    if (m->is_relay && t->finding.state != HOST_SOFT) /* 44: the list is wrong, not the mail */
        m->fault = FAULT_LOCAL;
}

static void read_hosts(struct plan_maker *m)
{
    for (size_t i = 0; i < m->n_targets; i++)
        judge(m, &m->targets[i]);
    if (ask_other_family(m))
        return;
    for (size_t i = 0; i < m->n_targets && !m->is_relay; i++) { /* 41 */
        const struct target *t = &m->targets[i];
        if (t->finding.state == HOST_SELF && t->preference < m->self_preference)
            m->self_preference = t->preference;
    }
    if (first_in_state(m, HOST_USABLE))
        m->step = STEP_DONE;
    else
        end_without_hosts(m);
}

static void advance(struct plan_maker *m)
{
    while (m->step != STEP_DONE && m->n_answered == m->n_asked) {
        if (m->step == STEP_MX)
            read_mx(m, m->asked[0].answer);
        else
            read_hosts(m);
    }
}

/* --- questions in and out ------------------------------------------------------------------ */

bool plan_maker_next(struct plan_maker *m, struct plan_question *ret)
{
    advance(m); /* relay hosts that are all addresses leave nothing to ask */
    if (m->step == STEP_DONE || m->n_given == m->n_asked)
        return false;
    m->asked[m->n_given].is_open = true;
    *ret = m->asked[m->n_given++].q;
    return true;
}

void plan_maker_answer(struct plan_maker *m, const struct plan_question *q,
                       const struct dns_answer *a)
{
    for (size_t i = 0; i < m->n_given; i++) {
        struct asked *at = &m->asked[i];
        if (!at->is_open || at->q.type != q->type || strcmp(at->q.name, q->name) != 0)
            continue;
        MUST(a->type == q->type);
        at->is_open = false;
        at->answer = (struct dns_answer *)frozen_ref((struct frozen *)(uintptr_t)&a->frozen);
        m->n_answered++;
        if (a->ttl_s < m->ttl_s)
            m->ttl_s = a->ttl_s;
        advance(m);
        return;
    }
}

static void plan_free(struct frozen *f)
{
    free(f);
}

static void fill_host(struct plan_host *h, const struct target *t)
{
    memcpy(h->name, t->name, sizeof h->name);
    h->preference = t->preference;
    for (size_t i = 0; i < t->finding.n; i++)
        h->addrs[h->n++] = dns_ip_sockaddr(&t->finding.ip[i], t->port);
}

struct plan *plan_maker_done(struct plan_maker *m)
{
    advance(m);
    if (m->step != STEP_DONE)
        return NULL;
    size_t room = m->fault == FAULT_NONE ? m->n_targets : 0;
    struct plan *p = must_alloc(sizeof *p + room * sizeof p->hosts[0]);
    frozen_init(&p->frozen, plan_free);
    p->fault = m->fault;
    p->ttl_s = m->ttl_s;
    memcpy(p->detail, m->detail, sizeof p->detail);
    memcpy(p->site, m->site, sizeof p->site);
    for (size_t i = 0; i < room; i++) {
        const struct target *t = &m->targets[i];
        if (t->finding.state == HOST_USABLE && t->preference < m->self_preference)
            fill_host(&p->hosts[p->n++], t);
    }
    return p;
}

/* --- what it was made of ------------------------------------------------------------------- */

static void look_at_addresses(const struct plan_maker *m, const struct plan_look *l,
                              const struct target *t, const struct dns_answer *a)
{
    const struct host_rules rules = rules_for(m, t);
    const bool is_behind_us = t->preference >= m->self_preference; /* 41 */
    for (size_t i = 0; a && a->status == DNS_OK && i < a->n; i++) {
        const char *why = host_address_why(&a->ip[i], &rules);
        if (!why[0] && is_behind_us)
            why = "not preferred to this relay, which is an MX of the domain itself";
        else if (!why[0] && t->finding.state != HOST_USABLE)
            why = t->finding.why;
        l->address(l->ctx, t->name, t->preference, &a->ip[i], t->port, why);
    }
}

void plan_maker_look(const struct plan_maker *m, const struct plan_look *l)
{
    for (size_t i = 0; i < m->n_asked; i++)
        if (m->asked[i].answer)
            l->answer(l->ctx, &m->asked[i].q, m->asked[i].answer);
    for (size_t i = 0; i < m->n_targets; i++) {
        const struct target *t = &m->targets[i];
        const struct dns_answer *a4 = t->literal ? t->literal : t->a4 ? t->a4->answer : NULL;
        const struct dns_answer *a6 = t->a6 ? t->a6->answer : NULL;
        look_at_addresses(m, l, t, a6);
        look_at_addresses(m, l, t, a4);
        const bool has_any = (a4 && a4->n > 0) || (a6 && a6->n > 0);
        if (!has_any && t->finding.why)
            l->address(l->ctx, t->name, t->preference, NULL, t->port, t->finding.why);
    }
}
