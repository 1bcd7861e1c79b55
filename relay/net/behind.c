/* A connection from a balancer: nothing is made of it until its PROXY header is there, whole. Then
 * it is as if the client had come himself: the same question whether he may, the same beginning. */
#include "relay/base/log.h"
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include "relay/net/private.h"
#include "relay/net/proxy.h"

enum { HEADER_MS = 5000 };

void net_proxy_wait(struct net_listener *n, struct loop *l, int fd, const struct sockaddr *peer)
{
    struct net_conn *c = net_conn_opened(l, fd, peer);
    c->phase = NET_PROXY;
    c->from = n;
    net_conn_own_deadline(c, mono_add(loop_now(l), HEADER_MS));
    net_read_start(c);
}

static void give_up(struct net_conn *c, const char *why)
{
    static struct log_limit limit = LOG_LIMIT(10);
    metric_add(M_REFUSED_PROXY, 1);
    LOG_FEW(&limit, LV_WARN, "proxy_header_refused", LOG_S("proxy", c->names.peer_ip),
            LOG_S("reason", why));
    net_conn_finish(c);
}

void net_proxy_late(struct net_conn *c)
{
    give_up(c, "no whole header within 5 s");
}

void net_proxy_ended(struct net_conn *c)
{
    if (c->in.n)
        give_up(c, "the header is cut off");
    else
        net_conn_finish(c); /* somebody looked whether the port is open */
}

/* Who it is for the rest of its life. */
static void take_names(struct net_conn *c, const struct proxy_header *h,
                       struct sockaddr_storage *ret_peer)
{
    int size = sizeof *ret_peer;
    if (h->has_peer) {
        *ret_peer = h->peer;
        net_conn_name(c, (const struct sockaddr *)&h->peer, (const struct sockaddr *)&h->local);
    } else if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)ret_peer, &size) != 0) {
        *ret_peer = (struct sockaddr_storage){.ss_family = AF_UNSPEC}; /* it has just gone */
    }
}

static void begin(struct net_conn *c, const struct proxy_header *h)
{
    struct sockaddr_storage peer = {0};
    struct slice words = SLICE_NONE;
    const struct net_acceptor *a = net_listener_acceptor(c->from);
    take_names(c, h, &peer);
    buf_done(&c->in);
    c->from = NULL;
    net_conn_own_deadline(c, MONO_NEVER);
    if (peer.ss_family == AF_UNSPEC) {
        net_conn_finish(c);
    } else if (!a->admit || a->admit(a->ctx, (const struct sockaddr *)&peer, &words)) {
        net_conn_begin(c, a);
    } else {
        c->phase = NET_CLEAR;
        if (!a->implicit_tls)
            net_conn_send(c, words);
        net_conn_close(c);
    }
}

struct slice net_proxy_bytes(struct net_conn *c, struct slice s)
{
    const size_t before = c->in.n;
    MUST(buf_add(&c->in, slice_head(s, PROXY_HEADER_MAX - before)));
    const struct proxy_header h = proxy_parse(buf_slice(&c->in));
    switch (h.verdict) {
    case PROXY_MORE:
        return SLICE_NONE;
    case PROXY_BAD:
        give_up(c, h.why);
        return SLICE_NONE;
    case PROXY_DONE:
        break;
    }
    begin(c, &h);
    return slice_skip(s, h.n - before);
}
