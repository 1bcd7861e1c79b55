/*
 * Who may come in: asked with nothing but the address, before anything is made of the connection,
 * so that a flood costs an accept, a look at the table of clients and a close.
 */
#include "relay/base/log.h"
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include "relay/inbound/private.h"
#include <stdio.h>

/* Each refusal: its counter, its word in the log, and what the client hears (in clear only). */
static const struct {
    enum metric metric;
    const char *why, *words;
} refusals[] = {
    [CLIENTS_BANNED] = {M_REFUSED_BANNED, "banned", "your address is banned"},
    [CLIENTS_TOO_FAST] = {M_REFUSED_RATE, "connection-rate-per-client",
                          "your address connects too often, try again later"},
    [CLIENTS_TOO_MANY] = {M_REFUSED_CONNECTIONS, "max-connections-per-client",
                          "too many connections from your address, try again later"},
    [CLIENTS_FULL] = {M_REFUSED_FULL, "max-connections",
                      "too many connections here, try again later"},
};

static struct slice say_why(struct listening *l, enum clients_answer a,
                            const struct clients_refusal *r)
{
    char more[CLIENTS_REASON_MAX + 60] = "";
    if (a == CLIENTS_BANNED)
        snprintf(more, sizeof more, " for another %lld s: %s", (long long)(r->left_ms / 1000 + 1),
                 r->reason);
    int n = snprintf(l->words, sizeof l->words, "421 4.7.0 %s%s\r\n", refusals[a].words, more);
    return slice_of(l->words, (size_t)n);
}

static bool judge(struct listening *l, const struct sockaddr *peer, struct slice *ret_words)
{
    struct inbound *in = l->in;
    const struct conf_listener *conf = &in->conf->listeners[l->index];
    struct clients_refusal refusal;
    l->admitted = (struct admission){.trusted = networks_have(&l->trust, peer)};
    (void)clients_key_of(peer, &l->admitted.key); /* sockets have no other families */
    l->admitted.exempt = l->admitted.trusted || networks_have(&in->allow, peer);
    const struct clients_limits limits = {.per_client = conf->max_connections_per_client,
                                          .per_listener = conf->max_connections,
                                          .rate = conf->connection_rate_per_client.n,
                                          .rate_ms = conf->connection_rate_per_client.per_ms,
                                          .exempt = l->admitted.exempt};
    const enum clients_answer a =
        clients_enter(in->shared->clients, &l->admitted.key, l->slot, &limits, loop_now(in->loop),
                      &l->admitted.client, &refusal);
    if (a == CLIENTS_IN)
        return true;
    metric_add(refusals[a].metric, 1);
    if (refusal.say) {
        char text[CLIENTS_KEY_SIZE];
        clients_key_text(&l->admitted.key, text);
        LOG(LV_WARN, "client_refused", LOG_S("client", text), LOG_S("listener", l->name),
            LOG_S("reason", refusals[a].why));
    }
    *ret_words = say_why(l, a, &refusal);
    return false;
}

bool door_behind_proxy(void *ctx, const struct sockaddr *peer)
{
    const struct listening *l = ctx;
    return networks_have(&l->proxies, peer);
}

bool door_admit(void *ctx, const struct sockaddr *peer, struct slice *ret_words)
{
    struct listening *l = ctx;
    return !l->in->stopping && l->served && judge(l, peer, ret_words);
}

bool door_accept(void *ctx, struct net_conn *c, const struct net_handler **ret_h, void **ret_ctx)
{
    struct listening *l = ctx;
    const struct admission a = l->admitted;
    MUST(a.client);
    l->admitted = (struct admission){0};
    *ret_h = &served_handler;
    *ret_ctx = &session_new(l->in, l, &a, c)->served;
    return true;
}
