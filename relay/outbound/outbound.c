#include "relay/outbound/outbound.h"
#include "relay/base/must.h"
#include "relay/outbound/conn.h"
#include "relay/outbound/sessions.h"
#include "relay/spooler/requests.h"
#include <stdlib.h>

enum { OUTBOUND_RECONFIGURE = 2000 };

struct order {
    struct msg msg;
    struct conf *conf;
};

static void use_conf(struct outbound *o, struct conf *conf)
{
    conf_unref(o->conf);
    o->conf = conf_ref(conf);
    out_own_addresses(o);
}

static bool same_list(const struct conf_list *a, const struct conf_list *b)
{
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++)
        same = strcmp(a->items[i], b->items[i]) == 0;
    return same;
}

static bool same_dns(const struct conf *a, const struct conf *b)
{
    return a->dns_timeout_ms == b->dns_timeout_ms && same_list(&a->dns_servers, &b->dns_servers) &&
           same_list(&a->dns_override, &b->dns_override);
}

struct tls_context *out_tls_verify(struct outbound *o, struct err *e)
{
    if (!o->tls_verify && tls_context_verify(&o->tls_verify, e) < 0)
        return NULL;
    return o->tls_verify;
}

static void forget_authorities(struct outbound *o)
{
    tls_context_unref(o->tls_verify);
    o->tls_verify = NULL;
    out_sessions_forget_all(o->sessions); /* who was vouched for is asked anew */
}

/* A resolver whose settings stay keeps its cache, and its open questions are not cut short: nothing
 * is deferred because of a reload. A new one that cannot be made leaves the old one, with a word in
 * the log: `check` has seen the table before. */
static void reconfigure(struct outbound *o, struct order *order)
{
    struct err e = {0};
    bool same = same_dns(o->conf, order->conf);
    use_conf(o, order->conf);
    forget_authorities(o);
    out_secrets_forget(o);
    if (!same && out_resolver_new(o, &e) < 0)
        LOG(LV_ERROR, "resolver", LOG_S("problem", e.text));
    out_conn_retire_idle(o);
    conf_unref(order->conf);
    free(order);
}

static void on_msg(void *ctx, struct msg *m)
{
    struct outbound *o = ctx;
    switch (m->type) {
    case OUT_RESOLVE:
        out_resolve_run(o, (struct out_resolve *)m);
        break;
    case OUT_WORK:
        out_conn_work(o, (struct out_work *)m);
        break;
    case OUT_CLOSE:
        out_conn_close(o, (struct out_work *)m);
        break;
    case OUT_DSN:
        out_bounce(o, (struct out_dsn *)m);
        break;
    case SPOOLER_READ:
        out_conn_read_answer(o, (struct spooler_read *)m);
        break;
    case SPOOLER_SITE:
        out_explain_site(o, (struct spooler_site *)m);
        break;
    case OUT_EXPLAIN:
        out_explain_run(o, (struct out_explain *)m);
        break;
    case OUT_EXPLAIN_STOP:
        out_explain_stop(o, (struct out_explain_order *)m);
        break;
    case OUT_RANG:
        out_explain_rang(o, (struct out_rang *)m);
        break;
    case SPOOLER_STORE: /* a bounce is durable, or will be asked for again */
        free(m);
        break;
    case OUTBOUND_RECONFIGURE:
        reconfigure(o, (struct order *)m);
        break;
    default:
        UNREACHABLE();
    }
}

int outbound_new(struct outbound **ret, struct loop *l, struct inbox *i, struct conf *conf,
                 struct tls_context *client_tls, struct out_hosts *hosts,
                 const struct port *spooler, struct err *e)
{
    struct outbound *o = must_alloc(sizeof *o);
    o->loop = l;
    o->sessions = out_sessions_new(conf->debug_session_ms);
    o->tls = client_tls;
    frozen_ref(&client_tls->frozen);
    o->hosts = hosts;
    o->spooler = spooler;
    o->ahead_slow_ms = OUT_AHEAD_SLOW_MS;
    o->ahead_patience_ms = OUT_AHEAD_PATIENCE_MS;
    o->port = (struct port){.inbox = i, .fn = on_msg, .ctx = o};
    rng_seed_random(&o->rng);
    use_conf(o, conf);
    int rc = out_resolver_new(o, e);
    if (rc < 0) {
        outbound_free(o);
        return rc;
    }
    *ret = o;
    return 0;
}

void outbound_drop(struct msg *m)
{
    if (m->type == OUTBOUND_RECONFIGURE) {
        conf_unref(((struct order *)m)->conf);
        free(m);
    } else if (m->type == OUT_SECRET) {
        out_secrets_drop(m);
    } else if (m->type == OUT_EXPLAIN) {
        out_explain_drop(m);
    } else if (m->type == OUT_EXPLAIN_STOP) {
        free(m);
    } else if (m->type == OUT_RANG) {
        out_explain_rang_free((struct out_rang *)m);
    } else if (m->type == OUT_CAPTURED) {
        out_capture_drop(m);
    } else if (m->type >= OUT_RESOLVE) {
        spooler_order_free(m);
    } else {
        spooler_request_free(m);
    }
}

const struct port *outbound_port(struct outbound *o)
{
    return &o->port;
}

void outbound_meet(struct outbound *o, struct outbound *const *all, unsigned n)
{
    o->all = all;
    o->n_all = n;
    out_places_show(o);
}

void outbound_reconfigure(struct outbound *o, struct conf *conf)
{
    struct order *order = must_alloc(sizeof *order);
    order->msg.type = OUTBOUND_RECONFIGURE;
    order->conf = conf_ref(conf);
    port_send(&o->port, &order->msg);
}

/* The spooler may be gone already: what the resolver still answers goes nowhere. */
void outbound_free(struct outbound *o)
{
    o->spooler = NULL;
    out_conn_free_all(o);
    out_places_done(o);
    out_captures_free(o);
    out_memory_free(o);
    out_secrets_free(o->secrets);
    out_sasl_free(o->sasl);
    if (o->resolver)
        resolver_free(o->resolver);
    out_explain_free_all(o);
    dns_override_unref(o->override);
    forget_authorities(o);
    out_sessions_free(o->sessions);
    tls_context_unref(o->tls);
    conf_unref(o->conf);
    out_own_addresses_done(o);
    free(o);
}
