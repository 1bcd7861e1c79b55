/*
 * explain --probe: the way is gone as a delivery goes it, by the same connection, session and
 * policies, up to RCPT and never further, and told step by step. It is a rehearsal: nobody is told
 * a result but the asker, nothing is learnt of addresses and relays, and no connection is counted
 * at the site.
 */
#include "relay/base/jrow.h"
#include "relay/base/must.h"
#include "relay/net/addr.h"
#include "relay/outbound/explain.h"
#include "relay/spooler/requests.h"
#include <stdlib.h>

/* A peer that says more is told of no further. */
#define ROWS_MAX 1000

static void begin(struct out_explain *x, const char *step)
{
    const struct mono now = loop_now(x->o->loop);
    jrow_begin(&x->rows);
    jrow_text(&x->rows, "about", SLICE_LIT("probe"));
    jrow_text(&x->rows, "step", slice_str(step));
    jrow_number(&x->rows, "at_ms", (uint64_t)(now.ms - x->began.ms));
    jrow_number(&x->rows, "ms", (uint64_t)(now.ms - x->stepped.ms));
    x->stepped = now;
}

static void end(struct out_explain *x)
{
    jrow_end(&x->rows);
    out_explain_tell(x);
}

/* --- calls
 * ------------------------------------------------------------------------------------------------------------
 */

static const char *step_of(enum watch_who who)
{
    return who == WATCH_CLIENT ? "client" : "server";
}

static void on_line(void *ctx, const struct watch_line *l)
{
    const struct link *link = ctx;
    struct out_explain *x = link->conn ? link->conn->probe : NULL;
    if (!x || x->n_rows > ROWS_MAX)
        return;
    begin(x, x->n_rows++ == ROWS_MAX ? "more" : step_of(l->who));
    jrow_some(&x->rows, "text", l->text);
    if (l->hidden)
        jrow_number(&x->rows, "hidden", l->hidden);
    end(x);
}

static void put_address(struct buf *out, const struct out_conn *c, const struct sockaddr *to)
{
    char text[46];
    const char *name = out_conn_host(c)->name;
    jrow_some(out, "mx_host", slice_str(name));
    net_addr_text(to, text);
    jrow_text(out, "mx_ip", slice_str(text));
    jrow_number(out, "mx_port", net_addr_port(to));
}

void out_probe_called(struct link *l, const struct sockaddr *to)
{
    struct out_explain *x = l->conn->probe;
    char text[46];
    if (!x)
        return;
    net_conn_tap(l->net, on_line, l);
    begin(x, "call");
    put_address(&x->rows, l->conn, to);
    if (l->source.from.ss_family) {
        net_addr_text((const struct sockaddr *)&l->source.from, text);
        jrow_text(&x->rows, "source_ip", slice_str(text));
    }
    if (l->conn->in_clear)
        jrow_text(&x->rows, "tls_policy", SLICE_LIT("none"));
    end(x);
}

void out_probe_connected(const struct out_conn *c)
{
    if (!c->probe)
        return;
    begin(c->probe, "connected");
    put_address(&c->probe->rows, c, (const struct sockaddr *)&c->peer);
    jrow_number(&c->probe->rows, "connect_ms", (uint64_t)c->connect_ms);
    jrow_text(&c->probe->rows, "tls_policy", slice_str(out_tls_name(c->client_conf.tls)));
    end(c->probe);
}

/* --- TLS
 * ------------------------------------------------------------------------------------------------------------
 */

static void put_certificate(struct out_conn *c, struct buf *out)
{
    struct err e = {0};
    struct tls_certificate shown;
    struct slice name = slice_str(out_conn_host(c)->name);
    if (name.n == 0) {
        net_conn_names(c->link->net, &c->names);
        name = slice_str(c->names.peer_ip);
    }
    if (!net_conn_certificate(c->link->net, out_tls_verify(c->o, &e), name, &shown))
        return;
    jrow_some(out, "names", slice_str(shown.names));
    jrow_some(out, "issuer", slice_str(shown.issuer));
    jrow_time(out, "not_after", (struct wall){shown.not_after_s * WALL_SECOND});
    jrow_bool(out, "valid", !shown.problem[0]);
    jrow_some(out, "problem", slice_str(shown.problem));
}

void out_probe_tls(struct out_conn *c, bool ok, const char *why)
{
    if (!c->probe)
        return;
    struct buf *out = &c->probe->rows;
    const struct tls_info tls = net_conn_tls_info(c->link->net);
    begin(c->probe, ok ? "tls" : "tls_failed");
    jrow_text(out, "tls_policy", slice_str(out_tls_name(c->client_conf.tls)));
    if (ok) {
        jrow_text(out, "tls_version", slice_str(tls.version));
        jrow_text(out, "tls_cipher", slice_str(tls.cipher));
        jrow_bool(out, "tls_verified", tls.verified);
        jrow_bool(out, "resumed", tls.resumed);
        put_certificate(c, out);
    } else {
        jrow_text(out, "response", slice_str(why));
    }
    end(c->probe);
}

/* --- what comes of it
 * ------------------------------------------------------------------------------------------------------------
 */

static const char *outcome_of(const struct verdict *v)
{
    switch (v->kind) {
    case VERDICT_NONE:
    case VERDICT_DELIVERED:
        return "accepted";
    case VERDICT_DEFERRED:
        return "deferred";
    case VERDICT_FAILED:
        return "bounced";
    }
    UNREACHABLE();
}

static void put_verdict(struct buf *out, const struct verdict *v)
{
    char enhanced[ENHANCED_SIZE];
    jrow_text(out, "outcome", slice_str(outcome_of(v)));
    if (v->kind == VERDICT_NONE)
        return;
    if (phase_name(v->phase))
        jrow_text(out, "command", slice_str(phase_name(v->phase)));
    if (v->code)
        jrow_number(out, "smtp_code", v->code);
    enhanced_write(v->enhanced, enhanced);
    jrow_some(out, "enhanced_status", slice_str(enhanced));
    if (v->fault != FAULT_NONE)
        jrow_text(out, "error", slice_str(fault_name(v->fault)));
    jrow_some(out, "response", slice_str(v->text));
}

void out_probe_failed(const struct out_conn *c, const struct verdict *v)
{
    if (!c->probe)
        return;
    begin(c->probe, "failed");
    put_verdict(&c->probe->rows, v);
    end(c->probe);
}

void out_probe_result(const struct out_conn *c, const struct verdict *v)
{
    struct out_explain *x = c->probe;
    const struct verdict ready = {.kind = VERDICT_NONE};
    v = v ? v : &ready;
    if (!x)
        return;
    begin(x, "result");
    if (c->load.job->n > 0)
        jrow_text(&x->rows, "recipient", buf_slice(&x->recipient));
    put_verdict(&x->rows, v);
    x->good = v->kind == VERDICT_NONE;
    end(x);
}

void out_probe_over(struct out_conn *c)
{
    c->probe->conn = NULL;
    out_explain_end(c->probe, c->probe->good);
    c->probe = NULL;
}

/* --- the beginning
 * ------------------------------------------------------------------------------------------------------------
 */

/* Ids of the scheduler's grow from 1: these are far from them. */
#define PROBE_IDS (UINT64_C(1) << 63)

static struct out_work *work_of(const struct out_explain *x)
{
    struct out_work *w = must_alloc(sizeof *w);
    w->msg.type = OUT_WORK;
    w->message_id = x->id;
    w->attempt = x->attempt;
    w->destination = buf_of(slice_str(x->dest->name));
    w->site = buf_of(buf_slice(&x->site));
    w->sender = buf_of(buf_slice(&x->sender));
    w->params = x->params;
    w->params.by = MAIL_BY_NONE; /* its deadline is not at hand */
    if (!x->with_rcpt)
        return w;
    w->n = 1;
    w->rcpts = must_alloc(sizeof *w->rcpts);
    w->addresses = must_alloc(sizeof *w->addresses);
    w->addresses[0] = buf_of(buf_slice(&x->recipient));
    return w;
}

void out_probe_begin(struct out_explain *x)
{
    struct outbound *o = x->o;
    frozen_ref(&x->plan->frozen);
    struct out_conn *c =
        out_conn_new(o, PROBE_IDS | ++o->probes, x->conf, x->dest, x->plan, work_of(x));
    c->rehearsal = true;
    c->probe = x;
    c->load.header_known = true;
    c->load.utf8_header = x->params.smtputf8;
    x->conn = c;
    x->began = x->stepped = loop_now(o->loop);
    out_conn_start(c); /* perhaps it is over then, and x gone */
}
