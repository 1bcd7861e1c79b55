/* Somebody looks on: what a connection's handler is offered and sends, as lines. A connection that
 * nobody looks at pays for one look at a pointer of its own. */
#include "relay/base/must.h"
#include "relay/net/private.h"
#include <stdlib.h>

struct net_tap {
    struct smtp_watch *watch;
    watch_fn *fn;
    void *ctx;
};

void net_conn_tap(struct net_conn *c, watch_fn *fn, void *ctx)
{
    MUST(!c->tap);
    c->tap = must_alloc(sizeof *c->tap);
    *c->tap = (struct net_tap){.watch = smtp_watch_new(), .fn = fn, .ctx = ctx};
}

void net_tap_free(struct net_tap *t)
{
    if (!t)
        return;
    smtp_watch_free(t->watch);
    free(t);
}

static void pass(struct net_conn *c, bool ours, struct slice bytes)
{
    struct net_tap *t = c->tap;
    smtp_watch_bytes(t->watch, ours == c->caller ? WATCH_CLIENT : WATCH_SERVER, bytes, t->fn,
                     t->ctx);
}

/* Before the handler answers it. What it leaves is offered again. */
void net_tap_in(struct net_conn *c, struct slice offered)
{
    if (offered.n <= c->tapped)
        return;
    pass(c, false, slice_skip(offered, c->tapped));
    c->tapped = offered.n;
}

void net_tap_out(struct net_conn *c, struct slice sent)
{
    pass(c, true, sent);
}

void net_tap_tls(struct net_conn *c)
{
    c->tapped = 0;
    smtp_watch_tls(c->tap->watch);
}
