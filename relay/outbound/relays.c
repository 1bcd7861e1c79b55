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

static void host_text(const struct plan_host *h, char ret[HOST_TEXT_SIZE])
{
    char literal[46] = "";
    const struct sockaddr_storage *a = &h->addrs[0];
    uint16_t port = ntohs(a->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)a)->sin6_port
                                                   : ((const struct sockaddr_in *)a)->sin_port);
    if (!h->name[0])
        net_addr_text((const struct sockaddr *)a, literal);
    snprintf(ret, HOST_TEXT_SIZE, h->name[0] || a->ss_family == AF_INET ? "%s%s:%u" : "[%s%s]:%u",
             h->name, literal, (unsigned)port);
}

/* All are barred: the job ends as the last login did, without another one. */
static void note_barred(struct out_conn *c, const char *host)
{
    DEFER_FREE char *why = out_hosts_why(c->o->hosts, c->dest->name, host);
    verdict_done(&c->failure);
    c->failure = verdict_of_fault(FAULT_LOGIN, PHASE_AUTH, slice_str(why));
}

size_t out_relay_order(struct out_conn *c, size_t *order)
{
    struct mono now = loop_now(c->o->loop);
    size_t n_fine = 0, n_avoided = 0, n = c->plan->n;
    size_t *avoided = must_alloc((n + 1) * sizeof *avoided);
    for (size_t i = 0; i < n; i++) {
        char host[HOST_TEXT_SIZE];
        size_t at = order[i];
        host_text(&c->plan->hosts[at], host);
        switch (out_hosts_look(c->o->hosts, c->dest->name, host, now)) {
        case OUT_HOST_FINE:
            order[n_fine++] = at;
            break;
        case OUT_HOST_AVOIDED:
            avoided[n_avoided++] = at;
            break;
        case OUT_HOST_BARRED:
            note_barred(c, host);
            break;
        }
    }
    for (size_t i = 0; i < n_avoided; i++)
        order[n_fine + i] = avoided[i];
    free(avoided);
    return n_fine + n_avoided;
}

/* What speaks of a host of ours, and not of us or of this mail. */
static bool is_hosts(const struct verdict *v)
{
    return v->kind == VERDICT_DEFERRED && v->fault != FAULT_LOCAL;
}

void out_relay_failed(struct out_conn *c, const struct plan_host *h, const struct verdict *v)
{
    char host[HOST_TEXT_SIZE];
    /* A login that another connection failed with says nothing new. */
    if (!is_hosts(v) || (v->phase == PHASE_AUTH && !c->logging_in))
        return;
    host_text(h, host);
    if (!out_hosts_failed(c->o->hosts, c->dest->name, host, v, loop_now(c->o->loop)))
        return;
    if (v->phase == PHASE_AUTH)
        LOG(LV_WARN, "relay_login_failed", LOG_S("destination", c->dest->name), LOG_S("host", host),
            LOG_S("user", c->dest->user), LOG_N("code", v->code),
            LOG_S("reply", v->text ? v->text : ""),
            LOG_S("meaning", "its mail waits, or goes to the next relay; tried again by itself"));
    else
        LOG(LV_INFO, "relay_failed", LOG_S("destination", c->dest->name), LOG_S("host", host),
            LOG_N("code", v->code), LOG_S("reply", v->text ? v->text : ""));
}

enum out_login_turn out_relay_login(struct out_conn *c)
{
    char host[HOST_TEXT_SIZE];
    host_text(out_conn_host(c), host);
    enum out_login_turn turn =
        out_hosts_login(c->o->hosts, c->dest->name, host, loop_now(c->o->loop));
    if (turn == OUT_LOGIN_NO) {
        DEFER_FREE char *why = out_hosts_why(c->o->hosts, c->dest->name, host);
        smtp_client_login_failed(c->client, FAULT_LOGIN, slice_str(why));
    }
    return turn;
}

void out_relay_works(struct out_conn *c)
{
    char host[HOST_TEXT_SIZE];
    host_text(out_conn_host(c), host);
    enum out_host_state was = out_hosts_works(c->o->hosts, c->dest->name, host);
    if (was == OUT_HOST_BARRED)
        LOG(LV_INFO, "relay_login_works", LOG_S("destination", c->dest->name), LOG_S("host", host));
    else if (was == OUT_HOST_AVOIDED)
        LOG(LV_INFO, "relay_works", LOG_S("destination", c->dest->name), LOG_S("host", host));
}
