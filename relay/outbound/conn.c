/*
 * One connection to a site: made for its first job (dial.c: at most OUT_TRIES_MAX addresses), then
 * fed with further jobs, perhaps one ahead (ahead.c), until it is told to close or the peer ends
 * it. What is said on its socket is talk.c's.
 *
 * What makes us try the next address: a failed connect, greeting, EHLO or TLS handshake, and a
 * first transaction that ended for a reason of the host's own (job.c). Each address is tried with a
 * fresh session; the last cause is the verdict when all have failed.
 */
#include "relay/outbound/conn.h"
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include <stdlib.h>

/* --- the end of things
 * ------------------------------------------------------------------------------------------------
 */

/* Lets go of socket and session; the socket closes by itself. */
static void unlink_socket(struct out_conn *c, bool politely)
{
    if (c->link) {
        net_conn_names(c->link->net, &c->names);
        out_resume_keep(c, loop_now(c->o->loop));
        c->link->conn = NULL;
        if (politely)
            net_conn_close(c->link->net);
        else
            net_conn_abort(c->link->net);
        c->link = NULL;
    }
    out_dial_drop(c);
    smtp_client_free(c->client);
    c->client = NULL;
    out_rcpts_forget_session(c);
    out_login_done(&c->login);
    out_ahead_forget_session(c);
    c->ready = c->begun = c->handshaking = c->unsent = c->wants_body = c->waiting = false;
}

static void conn_free(struct out_conn *c)
{
    unlink_socket(c, true);
    out_place_leave(c);
    out_job_drop(c);
    out_ahead_drop(c);
    HASH_DEL(c->o->conns, c);
    verdict_done(&c->failure);
    plan_unref(c->plan);
    conf_unref(c->conf);
    free(c->ways);
    free(c);
}

void out_conn_end(struct out_conn *c)
{
    struct outbound *o = c->o;
    uint64_t id = c->id;
    if (c->probe) {
        out_probe_over(c);
        conn_free(c);
        return;
    }
    if (c->load.job)
        out_job_untouched(c);
    out_ahead_end(c);
    conn_free(c);
    out_report_gone(o, id);
}

void out_conn_drop(struct out_conn *c)
{
    conn_free(c);
}

/* --- the way there
 * ------------------------------------------------------------------------------------------------------------
 */

/* Every address failed: the last cause is the verdict of the whole job. That all hosts are barred,
 * which others have found out, is none (checklist 75): the mail goes back and waits. */
static void give_up(struct out_conn *c)
{
    if (c->failure.kind == VERDICT_NONE) /* checklist 38 */
        c->failure = verdict_of_fault(FAULT_CONNECT_FAILED, PHASE_CONNECT,
                                      SLICE_LIT("the destination has no source address of the "
                                                "receiver's kind"));
    c->barred_ms = c->dest->relay.n > 0 ? out_relay_barred_ms(c) : 0;
    if (c->barred_ms == 0 || c->has_news)
        out_job_report(c, &c->failure, 1, false);
    out_conn_end(c);
}

void out_conn_call(struct out_conn *c)
{
    c->pumping = c->in_clear = c->no_session = false;
    if (!out_dial_next(c))
        give_up(c);
}

/* A receiver was there, or did not answer. */
static bool is_theirs(const struct verdict *v)
{
    return v->kind == VERDICT_DEFERRED && v->fault != FAULT_LOCAL &&
           v->fault != FAULT_CONNECT_FAILED;
}

/* What may pass counts more than what a host lacks for ever: there may be another host behind it.
 * What a receiver has to say counts more than that we could not call another: an attempt was made.
 * What he has to say of the mail counts more than what became of another host. */
void out_conn_note_failure(struct out_conn *c, struct verdict v)
{
    const bool lacks = out_is_inability(&v) && c->failure.kind == VERDICT_DEFERRED;
    if (lacks || (v.fault == FAULT_LOCAL && is_theirs(&c->failure)) ||
        (c->load.heard && c->failure.kind == VERDICT_DEFERRED)) {
        verdict_done(&v);
        return;
    }
    verdict_done(&c->failure);
    c->failure = v;
}

void out_conn_go_on(struct out_conn *c, struct verdict v)
{
    out_probe_failed(c, &v);
    if (c->dest->relay.n > 0)
        out_relay_failed(c, out_conn_host(c), &v);
    /* 41: this is we, and the mail is not for those behind us. */
    if (v.fault == FAULT_LOOP)
        c->tries = OUT_TRIES_MAX;
    c->has_news = c->has_news || out_relay_is_news(c, &v);
    out_conn_note_failure(c, v);
    unlink_socket(c, true);
    out_conn_call(c);
}

void out_conn_again(struct out_conn *c)
{
    unlink_socket(c, true);
    c->pumping = false;
    out_dial_again(c);
}

/* Another address may have had more to say than that there is no way to this one. */
void out_conn_call_failed(struct link *l, int err, struct mono now)
{
    struct out_conn *c = l->conn;
    if (out_dial_put_off(l, err))
        return;
    bool no_route = out_dial_is_no_route(err);
    struct verdict v = out_dial_verdict(l, err);
    metric_add(M_CONNECTS_OUT_FAILED, 1);
    out_probe_failed(c, &v);
    if (c->dest->relay.n > 0)
        out_relay_failed(c, &c->plan->hosts[c->ways[l->way].host], &v);
    c->has_news = true;
    if (!no_route || v.fault == FAULT_LOCAL || c->failure.kind == VERDICT_NONE)
        out_conn_note_failure(c, v);
    else
        verdict_done(&v);
    c->in_clear = c->no_session = false;
    if (!out_dial_failed(l, !no_route, now))
        give_up(c);
}

/* --- orders
 * ----------------------------------------------------------------------------------------------------------------
 */

struct out_conn *out_conn_new(struct outbound *o, uint64_t id, struct conf *conf,
                              const struct conf_destination *d, struct plan *plan,
                              struct out_work *job)
{
    struct out_conn *c = must_alloc(sizeof *c);
    c->id = id;
    c->o = o;
    c->conf = conf_ref(conf);
    c->dest = d;
    c->plan = plan;
    c->dns_ms = plan->dns_ms;
    c->connect_ms = c->tls_ms = c->data_ms = -1;
    c->load.job = job;
    HASH_ADD(hh, o->conns, id, sizeof c->id, c);
    return c;
}

void out_conn_start(struct out_conn *c)
{
    out_dial_init(c);
    if (out_place_take(c))
        out_conn_call(c);
}

static void open_conn(struct outbound *o, struct out_work *w)
{
    const struct out_route *route = (const struct out_route *)(const void *)w->plan;
    if (route->dest->capture[0]) {
        out_capture(o, route->conf, route->dest, w);
        return;
    }
    struct plan *plan = (struct plan *)(void *)frozen_ref(&route->plan->frozen);
    out_conn_start(out_conn_new(o, w->conn, route->conf, route->dest, plan, w));
}

void out_conn_work(struct outbound *o, struct out_work *w)
{
    struct out_conn *c = NULL;
    if (w->open) {
        open_conn(o, w);
        return;
    }
    HASH_FIND(hh, o->conns, &w->conn, sizeof w->conn, c);
    if (!c) { /* it ended while the order was on its way; GONE has been said */
        out_report_unattempted(o, w->conn, w, 0);
        return;
    }
    struct mono now = loop_now(o->loop);
    if (c->load.job) {
        out_ahead_work(c, w, now);
        out_conn_pump(c, now);
        return;
    }
    c->load.job = w;
    if (c->ready) {
        out_job_begin(c, now);
        out_conn_pump(c, now);
    }
}

/* An idle connection says QUIT. */
static void retire(struct out_conn *c)
{
    struct mono now = loop_now(c->o->loop);
    c->ready = false;
    smtp_client_quit(c->client, now);
    out_conn_pump(c, now);
}

void out_conn_close(struct outbound *o, struct out_work *w)
{
    struct out_conn *c = NULL;
    HASH_FIND(hh, o->conns, &w->conn, sizeof w->conn, c);
    if (c && c->ready && !c->load.job)
        retire(c);
    else if (c && !c->load.job)
        out_conn_end(c);
    out_work_free(w);
}

void out_conn_retire_idle(struct outbound *o)
{
    struct out_conn *c, *next;
    HASH_ITER (hh, o->conns, c, next)
        if (c->ready && !c->load.job)
            retire(c);
}

void out_conn_free_all(struct outbound *o)
{
    struct out_conn *c, *next;
    HASH_ITER (hh, o->conns, c, next)
        conn_free(c);
}
