/* Somebody looks on: what a connection's handler is offered and sends, as lines. A connection that
 * nobody looks at pays for one look at a pointer of its own. */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/net/private.h"
#include <stdio.h>
#include <stdlib.h>

struct net_tap {
    struct smtp_watch *watch;  /* NULL: who looks has come in the middle, and waits until he can
                                  begin: net_conn_look_on */
    struct net_traced *traced; /* NULL: no tracer looks */
    watch_fn *fn;              /* of who has asked for this very connection, or NULL */
    void *ctx;
};

void net_conn_tap(struct net_conn *c, watch_fn *fn, void *ctx)
{
    if (!c->tap)
        c->tap = must_alloc(sizeof *c->tap);
    if (!c->tap->watch)
        c->tap->watch = smtp_watch_new();
    MUST(!c->tap->fn);
    c->tap->fn = fn;
    c->tap->ctx = ctx;
}

void net_tap_begin(struct net_conn *c)
{
    struct net_traced *traced = c->local->traces ? net_traced_new(c) : NULL;
    if (!traced)
        return;
    c->tap = must_alloc(sizeof *c->tap);
    c->tap->watch = smtp_watch_new();
    c->tap->traced = traced;
    net_tap_note(c, c->caller ? "calling" : "connected");
}

static void begin_if_at_ease(struct net_conn *c)
{
    size_t awaited;
    if (net_conn_is_open(c) && c->h->at_ease && c->h->at_ease(c->ctx, &awaited))
        c->tap->watch = smtp_watch_new_within(awaited, c->h->said ? c->h->said(c->ctx) : NULL);
}

/* One that calls still, or has not said yet who it is, has all of its dialogue before it. */
void net_tap_join(struct net_conn *c)
{
    if (c->phase == NET_PROXY || !net_conn_is_open(c) || net_conn_is_traced(c))
        return;
    struct net_traced *traced = net_traced_new(c);
    if (!traced)
        return;
    if (!c->tap)
        c->tap = must_alloc(sizeof *c->tap);
    c->tap->traced = traced;
    if (c->phase == NET_CONNECTING && !c->tap->watch)
        c->tap->watch = smtp_watch_new();
    net_conn_look_on(c);
}

/* What was told and not taken yet is told once more to whoever comes next. */
void net_tap_leave(struct net_conn *c)
{
    if (!net_conn_is_traced(c))
        return;
    net_traced_free(c, TAKE_PTR(c->tap->traced));
    if (c->tap->fn)
        return;
    smtp_watch_free(c->tap->watch);
    free(TAKE_PTR(c->tap));
    c->tapped = 0;
}

/* Not while the handler has bytes before it, of which nobody knows how many it has taken. */
void net_conn_look_on(struct net_conn *c)
{
    if (c->tap && !c->tap->watch && !c->offering)
        begin_if_at_ease(c);
}

struct net_traced *net_tap_traced(const struct net_conn *c)
{
    return c->tap ? c->tap->traced : NULL;
}

bool net_conn_is_traced(const struct net_conn *c)
{
    return c->tap && c->tap->traced;
}

void net_conn_label(struct net_conn *c, const struct net_label *l)
{
    if (c->tap && c->tap->traced)
        net_traced_label(c->tap->traced, l);
}

void net_tap_note(struct net_conn *c, const char *text)
{
    if (c->tap && c->tap->traced)
        net_traced_note(c, c->tap->traced, text);
}

void net_tap_free(struct net_conn *c)
{
    if (!c->tap)
        return;
    net_tap_note(c, "closed");
    net_traced_free(c, c->tap->traced);
    smtp_watch_free(c->tap->watch);
    free(c->tap);
}

static void on_line(void *ctx, const struct watch_line *l)
{
    struct net_conn *c = ctx;
    const struct net_tap *t = c->tap;
    if (t->traced)
        net_traced_line(c, t->traced, l);
    if (t->fn)
        t->fn(t->ctx, l);
}

static void pass(struct net_conn *c, bool ours, struct slice bytes)
{
    if (c->tap->watch)
        smtp_watch_bytes(c->tap->watch, ours == c->caller ? WATCH_CLIENT : WATCH_SERVER, bytes,
                         on_line, c);
}

/* Before the handler answers it. What it leaves is offered again. */
void net_tap_in(struct net_conn *c, struct slice offered)
{
    if (!c->tap->watch)
        begin_if_at_ease(c);
    if (!c->tap->watch || offered.n <= c->tapped)
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
    if (c->tap->watch)
        smtp_watch_tls(c->tap->watch);
}

void net_tap_secure(struct net_conn *c)
{
    char text[160];
    const struct tls_info tls = net_conn_tls_info(c);
    snprintf(text, sizeof text, "TLS: %s %s", tls.version, tls.cipher);
    net_tap_note(c, text);
}
