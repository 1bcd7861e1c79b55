/*
 * The dialogue on one socket of a connection: the client machine (relay/smtp/client) is given bytes
 * and time, what it says goes out, what it asks for is done here or in job.c, login.c and resume.c.
 * Each address that a connection tries has a dialogue of its own; conn.c says what follows from its
 * end.
 */
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include "relay/net/addr.h"
#include "relay/outbound/conn.h"

#define HANDSHAKE_MS 60000
#define UNSENT_MAX (256u * 1024)

/* Returns true when something went: the machine may have more to say or to ask then. */
static bool flush(struct out_conn *c, struct mono now)
{
    struct slice out = smtp_client_output(c->client);
    if (out.n == 0 || net_conn_unsent(c->link->net) > UNSENT_MAX)
        return false;
    c->unsent = true;
    net_conn_send(c->link->net, out);
    smtp_client_sent(c->client, out.n, now);
    return true;
}

/* TLS before the greeting. */
static bool is_implicit(const struct out_conn *c)
{
    bool at_465 = net_addr_port((const struct sockaddr *)&c->peer) == 465;
    return c->dest->tls != CONF_OUT_NONE &&
           (c->dest->implicit_tls == CONF_IMPLICIT_ALWAYS ||
            (c->dest->implicit_tls == CONF_IMPLICIT_AT_465 && at_465));
}

/* A program's token that is refused is shown to nobody any more. It may only have been too old: the
 * same address is asked again with a new one, once. */
static bool asks_again_with_new_token(struct out_conn *c, const struct verdict *v, struct mono now)
{
    enum { REFUSED = 500 };
    if (v->phase != PHASE_AUTH || v->code < REFUSED || c->dest->token_command.n == 0)
        return false;
    out_secret_refused(c);
    if (c->token_renewed)
        return false;
    flush(c, now); /* QUIT */
    c->token_renewed = true;
    out_conn_again(c);
    c->has_turn = true;
    return true;
}

/* The session broke before it was ready: perhaps the next address, or the same one in clear, does
 * better. Opportunistic TLS falls back only for mail that has already waited once (checklist 83).
 */
static void on_failed(struct out_conn *c, const struct verdict *v, struct mono now)
{
    MUST(c->load.job); /* its first transaction has not begun */
    if (asks_again_with_new_token(c, v, now))
        return;
    bool in_clear = v->fault == FAULT_TLS_HANDSHAKE && !c->in_clear && c->tries < OUT_TRIES_MAX &&
                    out_may_go_in_clear(c->dest, &c->load.job->params, c->load.job->attempt);
    /* For mail that must have TLS, no TLS is no state that passes. */
    bool lacks = v->fault == FAULT_TLS_UNAVAILABLE && c->load.job->params.requiretls;
    struct verdict copy =
        lacks ? verdict_of_fault(FAULT_REQUIRETLS, v->phase, SLICE_NONE) : verdict_copy(v);
    metric_add(M_CONNECTS_OUT_FAILED, 1);
    flush(c, now); /* QUIT, perhaps */
    if (!in_clear) {
        out_conn_go_on(c, copy);
        return;
    }
    out_probe_failed(c, &copy);
    out_conn_note_failure(c, copy);
    c->in_clear = true;
    out_conn_again(c);
}

/* RFC 5802 section 3: a relay that does not show that it knows the password is not the one. */
static void on_impostor(struct out_conn *c, struct mono now)
{
    struct verdict v = verdict_of_fault(FAULT_LOGIN, PHASE_AUTH,
                                        SLICE_LIT("the receiver has not shown who it is"));
    smtp_client_quit(c->client, now);
    flush(c, now);
    out_conn_go_on(c, v);
}

/* Returns false when the session is gone. */
static bool on_ready(struct out_conn *c, struct mono now)
{
    if (!out_login_holds(c)) {
        on_impostor(c, now);
        return false;
    }
    if (c->dest->relay.n > 0 && c->jobs == 0)
        out_relay_works(c);
    c->ready = true;
    out_resume_keep(c, now);
    if (!c->load.job && !c->ending)
        out_ahead_ready(c);
    if (c->load.job && c->load.job->n > 0) {
        out_job_begin(c, now);
    } else if (c->load.job) { /* a rehearsal for nobody in particular */
        out_probe_result(c, NULL);
        c->ready = false;
        smtp_client_quit(c->client, now);
    } else if (c->ending) {
        c->ready = false;
        smtp_client_quit(c->client, now);
    }
    return true;
}

/* The handshake is over. With implicit TLS there is no session before it. */
static void tls_done(struct out_conn *c, enum fault f, struct slice why, struct mono now)
{
    if (c->client) {
        smtp_client_tls_done(c->client, f, why, now);
    } else if (f == FAULT_NONE) {
        c->client_conf.tls_on = true;
        c->client = smtp_client_new(&c->client_conf, now);
    } else {
        metric_add(M_CONNECTS_OUT_FAILED, 1);
        out_conn_go_on(c, verdict_of_fault(f, PHASE_STARTTLS, why));
    }
}

static void start_tls(struct out_conn *c, struct mono now)
{
    struct err e = {0};
    bool verify = c->client_conf.tls == SMTP_TLS_VERIFY;
    struct tls_context *tls = verify ? out_tls_verify(c->o, &e) : c->o->tls;
    if (c->client)
        flush(c, now);
    if (!tls) {
        tls_done(c, FAULT_LOCAL, slice_str(e.text), now);
        return;
    }
    c->step = now;
    c->handshaking = true;
    out_resume_start(c, tls, now);
    net_conn_deadline(c->link->net,
                      mono_add(now, HANDSHAKE_MS / 100 * c->conf->debug_phase_percent));
}

/* Returns false when the session (or the connection) is gone. */
static bool act(struct out_conn *c, const struct smtp_client_action *a, struct mono now)
{
    switch (a->act) {
    case CLI_STARTTLS:
        start_tls(c, now);
        return true;
    case CLI_LOGIN:
        out_login_step(c, a, now);
        return true;
    case CLI_READY:
        return on_ready(c, now);
    case CLI_BODY:
        out_content_body(c, now);
        return true;
    case CLI_TXN_DONE:
        return out_job_done(c, a, now);
    case CLI_FAILED:
        on_failed(c, a->verdict, now);
        return false;
    case CLI_CLOSE:
        flush(c, now);
        out_conn_end(c);
        return false;
    }
    UNREACHABLE();
}

static struct mono deadline_of(const struct out_conn *c, struct mono now)
{
    struct mono machine = smtp_client_deadline(c->client);
    struct mono look = mono_add(now, OUT_LOGIN_LOOK_MS);
    struct mono ours = c->login.held ? look : out_ahead_deadline(c);
    return mono_min(ours, machine);
}

void out_conn_pump(struct out_conn *c, struct mono now)
{
    struct smtp_client_action a;
    MUST(!c->pumping);
    c->pumping = true;
    do {
        while (smtp_client_next(c->client, &a))
            if (!act(c, &a, now))
                return;
    } while (flush(c, now));
    c->pumping = false;
    out_ahead_look(c, now);
    if (!c->handshaking)
        net_conn_deadline(c->link->net, deadline_of(c, now));
}

static size_t on_bytes(void *ctx, struct slice in, struct mono now)
{
    struct link *l = ctx;
    size_t taken = 0;
    while (l->conn && taken < in.n) {
        size_t n = smtp_client_bytes(l->conn->client, slice_skip(in, taken), now);
        taken += n;
        out_conn_pump(l->conn, now);
        if (n == 0)
            break;
    }
    return l->conn ? taken : in.n;
}

static void on_tls(void *ctx, bool ok, const char *why, struct mono now)
{
    struct link *l = ctx;
    struct out_conn *c = l->conn;
    if (!c)
        return;
    c->handshaking = false;
    c->tls_ms = out_conn_since(c, now);
    if (!ok && out_resume_again(c))
        return;
    if (ok)
        out_resume_done(c, now);
    out_probe_tls(c, ok, why);
    enum fault f = ok                                      ? FAULT_NONE
                   : net_conn_tls_unverified(c->link->net) ? FAULT_TLS_VERIFY
                                                           : FAULT_TLS_HANDSHAKE;
    tls_done(c, f, slice_str(why), now);
    if (l->conn && c->client)
        out_conn_pump(c, now);
}

static void on_sent(void *ctx, struct mono now)
{
    struct link *l = ctx;
    if (l->conn)
        l->conn->unsent = false;
    if (l->conn && l->conn->client)
        out_conn_pump(l->conn, now);
}

static void on_deadline(void *ctx, struct mono now)
{
    struct link *l = ctx;
    struct out_conn *c = l->conn;
    if (c && c->link != l)
        out_dial_beside(c, l);
    if (!c || c->link != l || (!c->client && !c->handshaking))
        return;
    if (c->handshaking) {
        c->handshaking = false;
        if (out_resume_again(c))
            return;
        tls_done(c, FAULT_TLS_HANDSHAKE, SLICE_LIT("timed out"), now);
    } else if (c->login.held && !mono_reached(smtp_client_deadline(c->client), now)) {
        out_login_go(c);
    } else if (!out_ahead_late(c, now)) {
        smtp_client_tick(c->client, now);
    }
    if (l->conn && c->client)
        out_conn_pump(c, now);
}

static void on_eof(void *ctx, int err, struct mono now)
{
    struct link *l = ctx;
    if (!l->conn || !l->conn->client) {
        net_conn_close(l->net);
        return;
    }
    smtp_client_lost(l->conn->client, slice_str(err ? uv_strerror(err) : ""), now);
    out_conn_pump(l->conn, now);
}

/* With a connection still there only when the loop has ended: out_conn_free_all comes next. */
static void on_closed(void *ctx)
{
    struct link *l = ctx;
    if (l->conn && !out_dial_forget(l->conn, l))
        l->conn->link = NULL;
    struct outbound *o = out_place_end(l);
    free(l);
    if (o)
        out_places_call_up(o);
}

static void on_connected(void *ctx, int err, struct mono now)
{
    struct link *l = ctx;
    struct out_conn *c = l->conn;
    if (!c)
        return;
    if (err) {
        out_conn_call_failed(l, err, now);
        return;
    }
    out_dial_answered(l, now);
    c->step = now;
    c->client_conf = (struct smtp_client_conf){
        .helo = slice_str(c->source.helo[0]  ? c->source.helo
                          : c->dest->helo[0] ? c->dest->helo
                                             : c->conf->hostname),
        .tls = c->in_clear ? SMTP_TLS_NONE : out_tls_level(c->dest, &c->load.job->params),
        .classes = c->conf->classes,
        .login = c->dest->user[0] != 0,
        .set_up = c->dest->relay.n > 0 || c->dest->tls == CONF_OUT_NONE || c->in_clear,
        /* A relay is whom the administrator means, whatever it calls itself. */
        .own_name = c->dest->relay.n ? SLICE_NONE : slice_str(c->conf->hostname),
        .no_chunking = !c->dest->chunking || out_has_learnt(c->o, &c->peer, OUT_NO_CHUNKING, now),
        .timeout_percent = c->conf->debug_phase_percent,
    };
    c->talked = true;
    out_probe_connected(c);
    if (is_implicit(c)) {
        start_tls(c, now);
        return;
    }
    c->client = smtp_client_new(&c->client_conf, now);
    out_conn_pump(c, now);
}

const struct net_handler out_link_handler = {
    .on_bytes = on_bytes,
    .on_connected = on_connected,
    .on_tls = on_tls,
    .on_sent = on_sent,
    .on_deadline = on_deadline,
    .on_eof = on_eof,
    .on_closed = on_closed,
    .at_ease = out_look_at_ease,
    .said = out_look_said,
};
