/*
 * The hosts of a `relay` list, in the order of the list as long as all is well; hosts.h says what
 * else. One warning when a login is refused, one word when it is taken again.
 */
#include "relay/base/defer.h"
#include "relay/base/log.h"
#include "relay/base/must.h"
#include "relay/net/addr.h"
#include "relay/outbound/conn.h"
#include <stdio.h>
#include <stdlib.h>

#define HOST_TEXT_SIZE 300

/* The texts live as long as the connection and `text`. */
static struct out_host host_of(const struct out_conn *c, const struct plan_host *h,
                               char text[HOST_TEXT_SIZE])
{
    char literal[46] = "";
    const struct sockaddr_storage *a = &h->addrs[0];
    uint16_t port = ntohs(a->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)a)->sin6_port
                                                   : ((const struct sockaddr_in *)a)->sin_port);
    if (!h->name[0])
        net_addr_text((const struct sockaddr *)a, literal);
    snprintf(text, HOST_TEXT_SIZE, h->name[0] || a->ss_family == AF_INET ? "%s%s:%u" : "[%s%s]:%u",
             h->name, literal, (unsigned)port);
    return (struct out_host){c->conf->serial, c->dest->name, text};
}

/* A job that has tried others, too, ends as the last login did, without another one. */
static void note_barred(struct out_conn *c, const struct out_host *at)
{
    DEFER_FREE char *why = out_hosts_why(c->o->hosts, at);
    verdict_done(&c->failure);
    c->failure = verdict_of_fault(FAULT_LOGIN, PHASE_AUTH, slice_str(why));
}

enum out_host_state out_relay_state(const struct out_conn *c, const struct plan_host *h,
                                    int64_t *ret_again_ms, char **ret_why)
{
    char text[HOST_TEXT_SIZE];
    const struct out_host at = host_of(c, h, text);
    return out_hosts_peek(c->o->hosts, &at, loop_now(c->o->loop), ret_again_ms, ret_why);
}

/* A rehearsal asks those that are barred, too, behind all others: whoever has mended a login wants
 * to see that. */
static enum out_host_state state_for(const struct out_conn *c, const struct out_host *at,
                                     struct mono now)
{
    if (!c->rehearsal)
        return out_hosts_look(c->o->hosts, at, now);
    int64_t again_ms;
    DEFER_FREE char *why = NULL;
    bool fine = out_hosts_peek(c->o->hosts, at, now, &again_ms, &why) == OUT_HOST_FINE;
    return fine ? OUT_HOST_FINE : OUT_HOST_AVOIDED;
}

size_t out_relay_order(struct out_conn *c, size_t *order)
{
    struct mono now = loop_now(c->o->loop);
    size_t n_fine = 0, n_avoided = 0, n = c->plan->n;
    size_t *avoided = must_alloc((n + 1) * sizeof *avoided);
    for (size_t i = 0; i < n; i++) {
        char text[HOST_TEXT_SIZE];
        const struct out_host at = host_of(c, &c->plan->hosts[order[i]], text);
        switch (state_for(c, &at, now)) {
        case OUT_HOST_FINE:
            order[n_fine++] = order[i];
            break;
        case OUT_HOST_AVOIDED:
            avoided[n_avoided++] = order[i];
            break;
        case OUT_HOST_BARRED:
            note_barred(c, &at);
            break;
        }
    }
    for (size_t i = 0; i < n_avoided; i++)
        order[n_fine + i] = avoided[i];
    free(avoided);
    return n_fine + n_avoided;
}

int64_t out_relay_barred_ms(const struct out_conn *c)
{
    int64_t least = INT64_MAX;
    for (size_t i = 0; i < c->plan->n; i++) {
        char text[HOST_TEXT_SIZE];
        const struct out_host at = host_of(c, &c->plan->hosts[i], text);
        int64_t ms = out_hosts_barred_ms(c->o->hosts, &at, loop_now(c->o->loop));
        least = ms < least ? ms : least;
    }
    return c->plan->n > 0 ? least : 0;
}

bool out_relay_is_news(const struct out_conn *c, const struct verdict *v)
{
    return v->phase != PHASE_AUTH || v->fault != FAULT_LOGIN || c->logging_in;
}

/* What speaks of a host of ours, and not of this machine or of this mail. */
static bool is_hosts(const struct verdict *v)
{
    return v->kind == VERDICT_DEFERRED && v->fault != FAULT_LOCAL &&
           (v->scope == SCOPE_HOST || v->scope == SCOPE_SITE || v->enhanced.subject == 3);
}

void out_relay_failed(struct out_conn *c, const struct plan_host *h, const struct verdict *v)
{
    char text[HOST_TEXT_SIZE];
    const struct out_host at = host_of(c, h, text);
    if (c->rehearsal || !is_hosts(v) || !out_relay_is_news(c, v) ||
        !out_hosts_failed(c->o->hosts, &at, v, loop_now(c->o->loop)))
        return;
    if (v->phase == PHASE_AUTH)
        LOG(LV_WARN, "relay_login_failed", LOG_S("destination", at.destination),
            LOG_S("host", at.host), LOG_S("user", c->dest->user), LOG_N("code", v->code),
            LOG_S("reply", v->text ? v->text : ""),
            LOG_S("meaning", "its mail waits, or goes to the next relay; tried again by itself"));
    else
        LOG(LV_INFO, "relay_failed", LOG_S("destination", at.destination), LOG_S("host", at.host),
            LOG_N("code", v->code), LOG_S("reply", v->text ? v->text : ""));
}

enum out_login_turn out_relay_login(struct out_conn *c)
{
    char text[HOST_TEXT_SIZE];
    const struct out_host at = host_of(c, out_conn_host(c), text);
    if (c->has_turn || c->rehearsal) /* for a rehearsal nobody's turn is taken */
        return OUT_LOGIN_GO;
    enum out_login_turn turn = out_hosts_login(c->o->hosts, &at, loop_now(c->o->loop));
    if (turn == OUT_LOGIN_NO) {
        DEFER_FREE char *why = out_hosts_why(c->o->hosts, &at);
        smtp_client_login_failed(c->client, FAULT_LOGIN, slice_str(why));
    }
    return turn;
}

void out_relay_works(struct out_conn *c)
{
    char text[HOST_TEXT_SIZE];
    const struct out_host at = host_of(c, out_conn_host(c), text);
    if (c->rehearsal)
        return;
    enum out_host_state was = out_hosts_works(c->o->hosts, &at);
    if (was == OUT_HOST_BARRED)
        LOG(LV_INFO, "relay_login_works", LOG_S("destination", at.destination),
            LOG_S("host", at.host));
    else if (was == OUT_HOST_AVOIDED)
        LOG(LV_INFO, "relay_works", LOG_S("destination", at.destination), LOG_S("host", at.host));
}
