/*
 * From a recipient domain to a destination, a plan and a site. The destination is the first of the
 * configuration that claims the domain; else the first that claims the plan's MX hosts; else the
 * implicit last one. What a message asks for by name (its route) goes before all of these. The site
 * is named by the MX set (or by the destination's `relay`), so that all domains behind the same
 * hosts share limits and back-off.
 */
#include "dns/ip.h"
#include "dns/name.h"
#include "relay/base/log.h"
#include "relay/base/must.h"
#include "relay/net/addr.h"
#include "relay/outbound/private.h"
#include <stdlib.h>
#include <uv.h>

#define TTL_MIN_MS 30000
#define JITTER_PERCENT 10

struct question {
    struct outbound *o;
    struct buf domain; /* as struct out_resolve has it */
    struct conf *conf;
    const struct conf_destination *dest;  /* NULL until the MX tells */
    size_t n_before;                      /* where dest is NULL: so many may match by MX … */
    const struct conf_destination *claim; /* … before this one, which claims the domain; or NULL */
    enum out_rule rule;
    const struct plan_maker *maker; /* that the resolver has; NULL: nobody is asked */
    struct mono asked;
    out_found_fn *fn;
    void *ctx;
};

static void add_address(struct sockaddr_storage **list, size_t *n, const struct sockaddr *a,
                        uint16_t port)
{
    struct sockaddr_storage *one;
    *list = must_realloc(*list, (*n + 1) * sizeof **list);
    one = &(*list)[(*n)++];
    *one = (struct sockaddr_storage){0};
    if (a->sa_family == AF_INET6) {
        memcpy(one, a, sizeof(struct sockaddr_in6));
        ((struct sockaddr_in6 *)one)->sin6_port = htons(port);
    } else {
        memcpy(one, a, sizeof(struct sockaddr_in));
        ((struct sockaddr_in *)one)->sin_port = htons(port);
    }
}

static bool is_wildcard(const struct sockaddr_storage *a)
{
    if (a->ss_family == AF_INET)
        return ((const struct sockaddr_in *)a)->sin_addr.s_addr == 0;
    return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)a)->sin6_addr);
}

/* What was known stays when they cannot be read. */
static void read_here(struct outbound *o)
{
    uv_interface_address_t *list = NULL;
    int n = 0;
    const int rc = (o->interfaces ? o->interfaces : uv_interface_addresses)(&list, &n);
    if (rc != 0) {
        LOG(LV_WARN, "own_addresses_unknown", LOG_S("problem", uv_strerror(rc)),
            LOG_S("effect", "mail that leads back to this relay may go round"));
        return;
    }
    free(o->here);
    o->here = NULL;
    o->n_here = 0;
    for (int i = 0; i < n; i++)
        add_address(&o->here, &o->n_here, (const struct sockaddr *)&list[i].address, 0);
    uv_free_interface_addresses(list, n);
}

static void add_listener(struct outbound *o, const struct sockaddr_storage *a)
{
    if (!is_wildcard(a))
        add_address(&o->own, &o->n_own, (const struct sockaddr *)a,
                    net_addr_port((const struct sockaddr *)a));
    for (size_t i = 0; i < o->n_here && is_wildcard(a); i++)
        if (o->here[i].ss_family == a->ss_family)
            add_address(&o->own, &o->n_own, (struct sockaddr *)&o->here[i],
                        net_addr_port((const struct sockaddr *)a));
}

void out_own_addresses_done(struct outbound *o)
{
    free(o->own);
    free(o->here);
    o->own = o->here = NULL;
    o->n_own = o->n_here = 0;
}

void out_own_addresses_fresh(struct outbound *o, struct mono now)
{
    if (!mono_reached(o->own_until, now))
        return;
    o->own_until = mono_add(now, OUT_OWN_MS);
    out_own_addresses(o);
}

/* Every address and port at which this relay itself would answer (checklist 41: own addresses, not
 * names, decide about loops), those that the administrator says lead here from outside, and all
 * that this machine has. */
void out_own_addresses(struct outbound *o)
{
    struct sockaddr_storage a;
    free(o->own);
    o->own = NULL;
    o->n_own = 0;
    read_here(o);
    for (size_t i = 0; i < o->conf->n_listeners; i++) {
        const struct conf_list *list = &o->conf->listeners[i].address;
        for (size_t k = 0; k < list->n; k++)
            if (net_parse_address(slice_str(list->items[k]), &a, NULL) >= 0)
                add_listener(o, &a);
    }
    for (size_t i = 0; i < o->conf->own_addresses.n; i++) {
        struct dns_ip ip;
        MUST(dns_ip_parse(slice_str(o->conf->own_addresses.items[i]), &ip)); /* conf has read it */
        a = dns_ip_sockaddr(&ip, 0);
        add_address(&o->own, &o->n_own, (struct sockaddr *)&a, 0);
    }
}

static void join_servers(const struct conf_list *list, struct buf *out)
{
    for (size_t i = 0; i < list->n; i++) {
        if (i > 0)
            buf_add_u8(out, ',');
        buf_add_str(out, list->items[i]);
    }
}

static int parse_override(const struct conf *conf, struct dns_override **ret, struct err *e)
{
    struct slice *lines = must_alloc((conf->dns_override.n + 1) * sizeof *lines);
    for (size_t i = 0; i < conf->dns_override.n; i++)
        lines[i] = slice_str(conf->dns_override.items[i]);
    int rc = dns_override_new(ret, lines, conf->dns_override.n, e);
    free(lines);
    return rc;
}

int out_resolver_new(struct outbound *o, struct err *e)
{
    struct dns_override *override = NULL;
    int rc = parse_override(o->conf, &override, e);
    if (rc < 0)
        return rc;
    struct buf servers = BUF_MAX(4096);
    join_servers(&o->conf->dns_servers, &servers);
    struct resolver_conf c = {
        .servers = buf_str(&servers), .timeout_ms = o->conf->dns_timeout_ms, .override = override};
    struct resolver *fresh = NULL;
    rc = resolver_new(&fresh, o->loop, &c, e);
    buf_done(&servers);
    if (rc < 0) {
        dns_override_unref(override);
        return rc;
    }
    struct resolver *old = o->resolver;
    struct dns_override *old_override = o->override;
    o->resolver = fresh; /* who hears the end of a question may have another one */
    o->override = override;
    if (old)
        resolver_free(old);
    dns_override_unref(old_override);
    return 0;
}

/* The first of so many; NULL: none. */
static const struct conf_destination *by_mx(const struct conf *conf, size_t n, const struct plan *p)
{
    for (size_t i = 0; i < n; i++) {
        const struct conf_destination *d = &conf->destinations[i];
        for (size_t k = 0; k < d->mx.n; k++)
            if (plan_matches_mx(p, slice_str(d->mx.items[k])))
                return d;
    }
    return NULL;
}

/* Of the first n. */
static bool any_by_mx(const struct conf *conf, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (conf->destinations[i].mx.n > 0)
            return true;
    return false;
}

struct retry_policy outbound_retry(const struct conf_retry *r)
{
    static_assert(CONF_RETRY_MAX <= RETRY_STEPS_MAX, "each pause has its place");
    struct retry_policy p = {.n = r->n, .jitter_percent = JITTER_PERCENT};
    for (unsigned i = 0; i < r->n; i++)
        p.pause_s[i] = r->pause_s[i];
    return p;
}

static struct sched_limits limits_of(const struct conf_destination *d)
{
    return (struct sched_limits){.connections = d->connections,
                                 .messages_per_connection = d->messages_per_connection,
                                 /* A copy for each: one transaction has an address once. */
                                 .recipients_per_message = d->redirect[0] ? 1 : d->recipients,
                                 .window = d->window,
                                 .rate = d->rate.n,
                                 .rate_ms = d->rate.per_ms,
                                 .retry = outbound_retry(&d->retry),
                                 .lifetime_s = d->lifetime_s};
}

static void route_free(struct frozen *f)
{
    struct out_route *r = (struct out_route *)(void *)f;
    plan_unref(r->plan);
    conf_unref(r->conf);
    free(r);
}

struct out_route *out_route_new(struct plan *p, struct conf *conf,
                                const struct conf_destination *dest)
{
    struct out_route *r = must_alloc(sizeof *r);
    frozen_init(&r->frozen, route_free);
    r->plan = p;
    r->conf = conf_ref(conf);
    r->dest = dest;
    return r;
}

void out_name_site(struct buf *out, const struct out_found *f)
{
    const struct conf_destination *d = f->dest;
    buf_init(out, sizeof f->plan->site + 200);
    if (d->relay.n > 0 || d->capture[0]) {
        buf_add_str(out, d->name);
        return;
    }
    if (f->claimed) /* its limits are its own, though others may share the hosts */
        buf_addf(out, "%s:", d->name);
    buf_add_str(out, f->plan->site);
}

static void ask(struct question *q);

static bool is_for_ever(enum fault f)
{
    struct verdict v = verdict_of_fault(f, PHASE_NONE, SLICE_NONE);
    bool failed = v.kind == VERDICT_FAILED;
    verdict_done(&v);
    return failed;
}

/* The hosts told the destination, and that has a way of its own: another plan is needed. While it
 * is not known where the domain's MX points, nor is whether one before the claim matches. */
static bool is_sent_elsewhere(struct question *q, const struct plan *p)
{
    const struct conf_destination *d =
        q->dest || p->fault != FAULT_NONE ? NULL : by_mx(q->conf, q->n_before, p);
    if (d && (d->capture[0] || d->redirect[0])) {
        q->dest = d;
        q->rule = OUT_BY_MX;
        return true;
    }
    if (q->dest || d || !q->claim || (p->fault != FAULT_NONE && !is_for_ever(p->fault)))
        return false;
    q->dest = q->claim;
    q->rule = OUT_BY_DOMAIN;
    return true;
}

/* Takes the plan. */
static void answer(void *ctx, struct plan *p)
{
    struct question *q = ctx;
    if (is_sent_elsewhere(q, p)) {
        plan_unref(p);
        ask(q);
        return;
    }
    struct out_found f = {.conf = q->conf,
                          .dest = q->dest,
                          .claimed = q->dest != NULL,
                          .rule = q->rule,
                          .plan = p,
                          .maker = q->maker};
    p->dns_ms = (int32_t)(mono_now().ms - q->asked.ms);
    if (!f.dest && p->fault == FAULT_NONE) {
        f.dest = by_mx(q->conf, q->n_before, p);
        f.rule = f.dest ? OUT_BY_MX : OUT_BY_DEFAULT;
        if (!f.dest)
            f.dest = &q->conf->destinations[q->conf->n_destinations - 1];
    }
    q->fn(q->ctx, &f);
    conf_unref(q->conf);
    buf_done(&q->domain);
    free(q);
}

static struct plan_maker *relay_maker(const struct conf_destination *d,
                                      const struct plan_options *opt)
{
    struct slice *hosts = must_alloc(d->relay.n * sizeof *hosts);
    for (size_t i = 0; i < d->relay.n; i++)
        hosts[i] = slice_str(d->relay.items[i]);
    struct plan_maker *m = plan_maker_relay(hosts, d->relay.n, opt);
    free(hosts);
    return m;
}

struct slice out_domain_ascii(struct slice domain, char ret[DNS_NAME_SIZE])
{
    return dns_name_parse(domain, ret) ? slice_str(ret) : domain;
}

/* NULL: the MX tells. */
static const struct conf_destination *destination_of(const struct conf *conf, struct slice domain,
                                                     struct slice route, enum out_rule *ret_rule)
{
    const struct conf_destination *d = route.n ? conf_by_name(conf, route) : NULL;
    *ret_rule = d ? OUT_BY_ROUTE : OUT_BY_DOMAIN;
    if (d)
        return d;
    if (route.n)
        LOG(LV_WARN, "route_unknown", LOG_B("destination", route), LOG_B("domain", domain),
            LOG_S("hint", "no destination has this name any more; the mail goes by its domain"));
    char ascii[DNS_NAME_SIZE];
    return conf_by_domain(conf, out_domain_ascii(domain, ascii));
}

static struct slice domain_of(const char *address)
{
    struct slice s = slice_str(address);
    size_t at = s.n;
    while (at > 0 && s.p[at - 1] != '@')
        at--;
    return slice_skip(s, at);
}

static void ask_hosts(struct question *q, struct plan_maker *m)
{
    q->maker = m;
    resolver_plan(q->o->resolver, m, answer, q);
}

static void ask(struct question *q)
{
    struct outbound *o = q->o;
    struct slice rest = buf_slice(&q->domain), domain = slice_cut(&rest, '>');
    if (q->dest && q->dest->redirect[0])
        domain = domain_of(q->dest->redirect);
    out_own_addresses_fresh(o, loop_now(o->loop));
    struct plan_options opt = {
        .port = q->dest ? q->dest->port : q->conf->destinations[q->conf->n_destinations - 1].port,
        .allow_private = q->conf->allow_private_addresses,
        .ipv4 = !q->dest || out_source_has(q->dest, AF_INET),
        .ipv6 = !q->dest || out_source_has(q->dest, AF_INET6),
        .own = o->own,
        .n_own = o->n_own,
        .here = o->here,
        .n_here = o->n_here,
        .own_hostname = slice_str(q->conf->hostname),
    };
    q->maker = NULL;
    if (q->dest && q->dest->capture[0])
        answer(q, plan_nowhere());
    else if (q->dest && q->dest->relay.n > 0)
        ask_hosts(q, relay_maker(q->dest, &opt));
    else if (domain.n > 0 && domain.p[0] == '[')
        answer(q, plan_literal(domain, &opt));
    else
        ask_hosts(q, plan_maker_new(domain, &opt));
}

void out_find(struct outbound *o, struct slice domain_and_route, out_found_fn *fn, void *ctx)
{
    struct question *q = must_alloc(sizeof *q);
    *q = (struct question){
        .o = o, .conf = conf_ref(o->conf), .asked = mono_now(), .fn = fn, .ctx = ctx};
    q->domain = BUF_MAX(domain_and_route.n + 1);
    buf_add(&q->domain, domain_and_route);
    struct slice route = buf_slice(&q->domain), domain = slice_cut(&route, '>');
    q->dest = destination_of(q->conf, domain, route, &q->rule);
    q->n_before = q->conf->n_destinations;
    if (q->dest && q->rule == OUT_BY_DOMAIN &&
        any_by_mx(q->conf, (size_t)(q->dest - q->conf->destinations))) {
        q->claim = q->dest;
        q->n_before = (size_t)(q->dest - q->conf->destinations);
        q->dest = NULL;
    }
    ask(q);
}

/* --- for the spooler
 * ------------------------------------------------------------------------------------------------------------
 */

struct resolving {
    struct outbound *o;
    struct out_resolve *r;
};

static void tell_spooler(void *ctx, struct out_found *f)
{
    struct resolving *w = ctx;
    const struct plan *p = f->plan;
    struct spooler_plan *a = must_alloc(sizeof *a);
    a->msg.type = SPOOLER_PLAN;
    a->domain = w->r->domain;
    if (f->dest)
        a->limits = limits_of(f->dest);
    if (p->fault != FAULT_NONE) {
        a->failed = verdict_of_fault(p->fault, PHASE_NONE, slice_str(p->detail));
        plan_unref(f->plan);
    } else {
        out_name_site(&a->site, f);
        buf_init(&a->destination, 200);
        buf_add_str(&a->destination, f->dest->name);
        a->ttl_ms = (int64_t)p->ttl_s * 1000 < TTL_MIN_MS ? TTL_MIN_MS : (int64_t)p->ttl_s * 1000;
        a->plan = &out_route_new(f->plan, f->conf, f->dest)->frozen;
    }
    out_send(w->o, &a->msg);
    free(w->r);
    free(w);
}

void out_resolve_run(struct outbound *o, struct out_resolve *r)
{
    struct resolving *w = must_alloc(sizeof *w);
    *w = (struct resolving){o, r};
    out_find(o, buf_slice(&r->domain), tell_spooler, w);
}
