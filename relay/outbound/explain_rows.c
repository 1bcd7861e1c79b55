/* An explanation in rows: keys are told in relay/admin/README.md. Pure. */
#include "dns/ip.h"
#include "relay/base/jrow.h"
#include "relay/base/must.h"
#include "relay/net/addr.h"
#include "relay/outbound/explain.h"

static void begin(struct buf *out, const char *about)
{
    jrow_begin(out);
    jrow_text(out, "about", slice_str(about));
}

static uint64_t seconds_up(int64_t ms)
{
    return (uint64_t)(ms + 999) / 1000;
}

static struct slice domain_in(const struct buf *domain_and_route, struct slice *ret_route)
{
    *ret_route = buf_slice(domain_and_route);
    return slice_cut(ret_route, '>');
}

void explain_way(struct buf *out, const struct out_explain *x)
{
    struct slice route, domain = domain_in(&x->domain, &route);
    begin(out, "way");
    jrow_text(out, "recipient", buf_slice(&x->recipient));
    jrow_text(out, "recipient_domain", domain);
    jrow_some(out, "route", route);
    jrow_end(out);
}

/* --- the destination
 * ------------------------------------------------------------------------------------------------------------
 */

static const char *matching(const struct conf_list *patterns, struct slice as_written)
{
    char ascii[DNS_NAME_SIZE];
    const struct slice domain = out_domain_ascii(as_written, ascii);
    for (size_t i = 0; i < patterns->n; i++)
        if (slice_glob(slice_str(patterns->items[i]), domain))
            return patterns->items[i];
    return "";
}

static const char *matching_mx(const struct conf_list *patterns, const struct plan *p)
{
    for (size_t i = 0; i < patterns->n; i++)
        if (plan_matches_mx(p, slice_str(patterns->items[i])))
            return patterns->items[i];
    return "";
}

static void put_rule(struct buf *out, const struct out_found *f, struct slice domain)
{
    static const char *const names[] = {[OUT_BY_ROUTE] = "route",
                                        [OUT_BY_DOMAIN] = "domains",
                                        [OUT_BY_MX] = "mx",
                                        [OUT_BY_DEFAULT] = "default"};
    const char *pattern = f->rule == OUT_BY_DOMAIN ? matching(&f->dest->domains, domain)
                          : f->rule == OUT_BY_MX   ? matching_mx(&f->dest->mx, f->plan)
                                                   : "";
    jrow_text(out, "rule", slice_str(names[f->rule]));
    jrow_some(out, "pattern", slice_str(pattern));
}

static void put_list(struct buf *out, const char *key, const struct conf_list *list)
{
    if (list->n == 0)
        return;
    jrow_list(out, key);
    for (size_t i = 0; i < list->n; i++)
        jrow_item(out, slice_str(list->items[i]));
    jrow_list_end(out);
}

static void put_retry(struct buf *out, const struct out_found *f)
{
    const struct conf_retry *r = f->dest->retry.n ? &f->dest->retry : &f->conf->retry;
    jrow_list(out, "retry_seconds");
    for (unsigned i = 0; i < r->n; i++)
        jrow_item_number(out, (uint64_t)r->pause_s[i]);
    jrow_list_end(out);
}

static void put_limits(struct buf *out, const struct out_found *f)
{
    const struct conf_destination *d = f->dest;
    jrow_number(out, "limit", d->connections);
    jrow_number(out, "messages_per_connection", d->messages_per_connection);
    jrow_number(out, "max_recipients", d->recipients);
    if (d->rate.n) {
        jrow_number(out, "rate", d->rate.n);
        jrow_number(out, "rate_seconds", (uint64_t)d->rate.per_ms / 1000);
    }
    jrow_number(out, "lifetime_seconds",
                (uint64_t)(d->lifetime_s ? d->lifetime_s : f->conf->lifetime_s));
    put_retry(out, f);
}

/* Where the policy comes from: there is neither DANE nor MTA-STS here yet. */
static void put_tls(struct buf *out, const struct out_found *f, const struct mail_params *p)
{
    const enum smtp_tls_level level = out_tls_level(f->dest, p);
    const bool by_message = level != out_tls_level(f->dest, &(struct mail_params){0});
    jrow_text(out, "tls_policy", slice_str(out_tls_name(level)));
    jrow_text(out, "tls_from", slice_str(by_message ? "message" : "configuration"));
}

void explain_destination(struct buf *out, const struct out_found *f, struct slice domain,
                         const struct mail_params *p)
{
    const struct conf_destination *d = f->dest;
    if (!d)
        return;
    begin(out, "destination");
    jrow_text(out, "destination", slice_str(d->name));
    put_rule(out, f, domain);
    jrow_some(out, "capture", slice_str(d->capture));
    jrow_some(out, "redirect", slice_str(d->redirect));
    put_list(out, "relay", &d->relay);
    if (!d->capture[0])
        put_tls(out, f, p);
    jrow_some(out, "login", slice_str(d->user));
    put_limits(out, f);
    jrow_end(out);
}

/* --- DNS
 * ------------------------------------------------------------------------------------------------------------
 */

static const char *type_name(enum dns_type t)
{
    return t == DNS_MX ? "MX" : t == DNS_A ? "A" : "AAAA";
}

static void put_mx(struct buf *out, const struct dns_answer *a)
{
    if (a->n == 1 && a->mx[0].preference == 0 && !a->mx[0].target[0]) {
        jrow_bool(out, "null_mx", true);
        return;
    }
    jrow_list(out, "mx");
    for (size_t i = 0; i < a->n; i++) {
        jrow_begin(out);
        jrow_number(out, "preference", a->mx[i].preference);
        jrow_text(out, "mx_host", slice_str(a->mx[i].target));
        jrow_close(out);
    }
    jrow_list_end(out);
}

static void put_addresses(struct buf *out, const struct dns_answer *a)
{
    char text[46];
    jrow_list(out, "addresses");
    for (size_t i = 0; i < a->n; i++) {
        dns_ip_text(&a->ip[i], text);
        jrow_item(out, slice_str(text));
    }
    jrow_list_end(out);
}

static void put_answer(void *ctx, const struct plan_question *q, const struct dns_answer *a)
{
    struct buf *out = ctx;
    begin(out, "dns");
    jrow_text(out, "name", slice_str(q->name));
    jrow_text(out, "type", slice_str(type_name(q->type)));
    jrow_text(out, "status", slice_str(dns_status_name(a->status)));
    jrow_number(out, "ttl", a->ttl_s);
    if (a->canonical[0] && strcmp(a->canonical, q->name) != 0)
        jrow_text(out, "canonical", slice_str(a->canonical));
    if (a->status == DNS_OK && a->type == DNS_MX)
        put_mx(out, a);
    else if (a->status == DNS_OK)
        put_addresses(out, a);
    jrow_end(out);
}

static void no_address(void *ctx, const char *host, uint16_t preference, const struct dns_ip *ip,
                       uint16_t port, const char *why)
{
    (void)ctx, (void)host, (void)preference, (void)ip, (void)port, (void)why;
}

static void put_fault(struct buf *out, const struct plan *p)
{
    char status[ENHANCED_SIZE];
    struct verdict v = verdict_of_fault(p->fault, PHASE_NONE, slice_str(p->detail));
    jrow_text(out, "error", slice_str(fault_name(p->fault)));
    jrow_text(out, "response", slice_str(v.text));
    enhanced_write(v.enhanced, status);
    jrow_text(out, "enhanced_status", slice_str(status));
    jrow_text(out, "outcome", slice_str(v.kind == VERDICT_FAILED ? "bounced" : "deferred"));
    verdict_done(&v);
}

void explain_dns(struct buf *out, const struct out_found *f, struct slice site)
{
    if (f->maker)
        plan_maker_look(f->maker, &(struct plan_look){put_answer, no_address, out});
    begin(out, "plan");
    if (f->maker)
        jrow_number(out, "dns_ms", f->plan->dns_ms > 0 ? (uint64_t)f->plan->dns_ms : 0);
    if (f->plan->ttl_s != UINT32_MAX)
        jrow_number(out, "ttl", f->plan->ttl_s);
    jrow_some(out, "site", site);
    if (f->plan->fault != FAULT_NONE)
        put_fault(out, f->plan);
    jrow_end(out);
}

/* --- hosts
 * ------------------------------------------------------------------------------------------------------------
 */

void explain_host(struct buf *out, const struct explain_host *h)
{
    char text[46];
    begin(out, "host");
    if (h->turn <= OUT_TRIES_MAX)
        jrow_number(out, "turn", h->turn);
    jrow_some(out, "mx_host", slice_str(h->name));
    jrow_number(out, "preference", h->preference);
    net_addr_text((const struct sockaddr *)h->address, text);
    jrow_text(out, "mx_ip", slice_str(text));
    jrow_number(out, "mx_port", net_addr_port((const struct sockaddr *)h->address));
    if (h->source.from.ss_family) {
        net_addr_text((const struct sockaddr *)&h->source.from, text);
        jrow_text(out, "source_ip", slice_str(text));
    }
    jrow_text(out, "helo", slice_str(h->source.helo[0] ? h->source.helo : h->helo));
    if (h->rang)
        jrow_bool(out, "no_answer_lately", true);
    if (h->rang && h->rang < h->loops) {
        jrow_number(out, "no_answer_threads", h->rang);
        jrow_number(out, "threads", h->loops);
    }
    if (h->turn > OUT_TRIES_MAX)
        jrow_text(out, "left_out", SLICE_LIT("an attempt calls five addresses at most"));
    if (h->state != OUT_HOST_FINE) {
        const bool barred = h->state == OUT_HOST_BARRED;
        jrow_text(out, "state", slice_str(barred ? "login_refused" : "failed_lately"));
        jrow_number(out, "again_seconds", seconds_up(h->again_ms));
        jrow_some(out, "why", slice_str(h->why));
    }
    jrow_end(out);
}

static void skip_answer(void *ctx, const struct plan_question *q, const struct dns_answer *a)
{
    (void)ctx, (void)q, (void)a;
}

static void put_left_out(void *ctx, const char *host, uint16_t preference, const struct dns_ip *ip,
                         uint16_t port, const char *why)
{
    struct buf *out = ctx;
    char text[46];
    if (!why[0])
        return;
    begin(out, "host");
    jrow_some(out, "mx_host", slice_str(host));
    jrow_number(out, "preference", preference);
    if (ip) {
        dns_ip_text(ip, text);
        jrow_text(out, "mx_ip", slice_str(text));
        jrow_number(out, "mx_port", port);
    }
    jrow_text(out, "left_out", slice_str(why));
    jrow_end(out);
}

void explain_left_out(struct buf *out, const struct out_found *f)
{
    if (f->maker)
        plan_maker_look(f->maker, &(struct plan_look){skip_answer, put_left_out, out});
}

/* --- the site
 * ------------------------------------------------------------------------------------------------------------
 */

static void put_wait(struct buf *out, const char *key, int64_t ms)
{
    if (ms >= 0)
        jrow_number(out, key, seconds_up(ms));
}

static void put_standing(struct buf *out, const struct sched_standing *s)
{
    static const char *const ranks[] = {"high", "normal", "low"};
    MUST(s->rank < sizeof ranks / sizeof *ranks);
    jrow_text(out, "rank", slice_str(ranks[s->rank]));
    jrow_number(out, "ahead", s->ahead);
    jrow_number(out, "users", s->users);
}

void explain_site(struct buf *out, const struct spooler_site *s)
{
    begin(out, "site");
    jrow_bool(out, "known", s->known);
    queue_site_row_write(out, &s->row, s->known);
    if (s->known) {
        put_wait(out, "window_holds_seconds", s->hold_ms);
        if (s->row.rate)
            put_wait(out, "next_job_seconds", s->next_job_ms);
        jrow_number(out, "failures", s->fails);
        if (s->stands)
            put_standing(out, &s->standing);
    }
    jrow_bool(out, "suspended", s->row.suspended);
    jrow_end(out);
}
