/*
 * What a connection carries: one job after the other. Each is answered once: by the verdicts of its
 * transactions (recipients.c), by the last address's failure, or untouched. The connection was kept
 * and dead: no attempt (checklist 69).
 */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/net/addr.h"
#include "relay/outbound/conn.h"
#include <stdlib.h>

void out_load_drop(struct out_load *l)
{
    if (l->job)
        out_work_free(l->job);
    free(l->addresses);
    free(l->asks);
    for (size_t i = 0; i < l->first; i++)
        verdict_done(&l->verdicts[i]);
    free(l->verdicts);
    buf_done(&l->verp);
    if (l->heard)
        attempt_done(l->heard);
    free(l->heard);
    *l = (struct out_load){0};
}

void out_job_drop(struct out_conn *c)
{
    out_load_drop(&c->load);
    c->begun = c->reading = false;
}

/* --- results
 * ------------------------------------------------------------------------------------------------------------
 */

static void add_text(struct buf *b, const char *s)
{
    buf_init(b, 512);
    if (s)
        buf_add_str(b, s);
}

/* An address literal is a host that has no name: its address stands for one, so that every line
 * tells the host. */
static void add_host(struct buf *out, const struct plan_host *h)
{
    char literal[46] = "";
    if (!h->name[0] && h->n > 0)
        net_addr_text((const struct sockaddr *)&h->addrs[0], literal);
    add_text(out, h->name[0] ? h->name : literal);
}

static void describe(struct out_conn *c, struct attempt *a)
{
    struct tls_info tls = {0};
    if (c->link) {
        net_conn_names(c->link->net, &c->names);
        tls = net_conn_tls_info(c->link->net);
    }
    if (c->n_ways > 0)
        add_host(&a->mx_host, out_conn_host(c));
    add_text(&a->mx_ip, c->names.peer_ip);
    add_text(&a->source_ip, c->names.local_ip);
    add_text(&a->tls_version, tls.version);
    add_text(&a->tls_cipher, tls.cipher);
    a->tls_policy = c->talked ? out_tls_name(c->client_conf.tls) : NULL;
    a->mx_port = c->names.peer_port;
    a->reused = c->jobs > 1;
    a->tls_verified = tls.verified;
    a->dns_ms = c->jobs > 1 ? -1 : c->dns_ms;
    a->connect_ms = c->jobs > 1 ? -1 : c->connect_ms;
    a->tls_ms = c->jobs > 1 ? -1 : c->tls_ms;
    a->data_ms = c->data_ms;
}

void out_job_report(struct out_conn *c, const struct verdict *v, size_t n, bool ready)
{
    if (c->probe) {
        out_probe_result(c, v);
        out_job_drop(c);
        return;
    }
    struct spooler_result *r = must_alloc(sizeof *r);
    struct out_work *w = c->load.job;
    r->msg.type = SPOOLER_RESULT;
    r->conn = c->id;
    r->ready = ready;
    r->attempted = true;
    r->barred_ms = c->barred_ms;
    r->message_id = w->message_id;
    r->n = w->n;
    r->rcpts = w->rcpts;
    w->rcpts = NULL;
    r->verdicts = must_alloc(r->n * sizeof *r->verdicts);
    for (size_t i = 0; i < r->n; i++)
        r->verdicts[i] = verdict_copy(&v[n == 1 ? 0 : i]);
    r->paths = out_rcpts_paths(c, r->verdicts, r->n);
    const struct smtp_peer *peer = c->client ? smtp_client_peer(c->client) : NULL;
    r->dsn_passed_on = peer && peer->dsn;
    r->deliver_by_passed_on = peer && peer->deliver_by;
    if (c->load.heard && v == &c->failure) {
        r->attempt = *c->load.heard;
        *c->load.heard = (struct attempt){0};
    } else {
        describe(c, &r->attempt);
    }
    out_job_drop(c);
    out_send(c->o, &r->msg);
}

/* 500 to 504: it does not know where in the dialogue we are (checklist 68). */
static bool has_lost_its_place(const struct verdict *v)
{
    return v->code >= 500 && v->code <= 504;
}

/* On a connection kept from before, or one that has carried some of the job's recipients, "gone",
 * 421 or "out of order" in answer to MAIL says nothing about the mail. */
static bool was_stale(const struct out_conn *c, const struct smtp_client_action *a)
{
    if (c->jobs < 2 && c->load.first == 0)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        const struct verdict *v = &a->verdicts[i];
        bool gone = !a->reusable && (v->fault == FAULT_CONN_LOST || v->code == 421);
        if (v->phase != PHASE_MAIL || (!gone && !has_lost_its_place(v)))
            return false;
    }
    return true;
}

/* A reason that another host of the site may not have: the connection broke, or the host speaks of
 * its own state (x.3.x). Not when the message may be there already, and not when the whole site
 * asks us to slow down. */
static bool is_hosts_own(const struct verdict *v)
{
    bool own = v->scope == SCOPE_HOST ||
               (v->scope == SCOPE_MESSAGE && v->fault == FAULT_NONE && v->enhanced.subject == 3);
    return v->kind == VERDICT_DEFERRED && own && !verdict_in_doubt(v);
}

/* The hosts of a `relay` list are providers with limits and rules of their own: "later" for the
 * mail or for us is the word of one of them. Of a recipient it is what his own host said. */
static bool is_providers_own(const struct out_conn *c, const struct verdict *v)
{
    return c->dest->relay.n > 1 && v->kind == VERDICT_DEFERRED && v->fault == FAULT_NONE &&
           v->scope != SCOPE_RECIPIENT;
}

static bool is_alike(const struct verdict *a, const struct verdict *b)
{
    return a->code == b->code && slice_eq(slice_str(a->text), slice_str(b->text));
}

/* "Later" to a mail that has waited already, in the same words for all of it: what keeps this host
 * from taking it, its neighbour perhaps has not. Not at the first attempt, since greylisting wants
 * to hear the same again (77); one more host an attempt, since most have no more to say; and not
 * where the whole site asks us to slow down. */
static bool is_said_again(const struct out_conn *c, const struct smtp_client_action *a)
{
    enum { FOR_EVER = 500 };
    if (c->load.job->attempt < 2 || c->load.heard || c->dest->relay.n > 0 ||
        !out_dial_more_hosts(c))
        return false;
    for (size_t i = 0; i < a->n; i++) {
        const struct verdict *v = &a->verdicts[i];
        if (v->kind != VERDICT_DEFERRED || v->fault != FAULT_NONE || v->code >= FOR_EVER ||
            v->scope == SCOPE_SITE || !is_alike(v, &a->verdicts[0]))
            return false;
    }
    return a->n == c->load.job->n;
}

/* RFC 5321 section 5.1, checklist 58, 59, 73, 90: the next host is asked at once, as long as nobody
 * has a verdict of his own. */
static bool is_for_next_host(const struct out_conn *c, const struct smtp_client_action *a)
{
    if (c->jobs > 1 || c->load.first > 0 || !out_dial_more(c))
        return false;
    if (is_said_again(c, a))
        return true;
    for (size_t i = 0; i < a->n; i++)
        if (!is_hosts_own(&a->verdicts[i]) && !out_is_inability(&a->verdicts[i]) &&
            !is_providers_own(c, &a->verdicts[i]))
            return false;
    return a->n > 0;
}

/* A provider that has had enough of us, on a connection that worked so far: the next connection
 * asks another one first. */
static bool is_left(struct out_conn *c, const struct smtp_client_action *a)
{
    for (size_t i = 0; i < a->n; i++)
        if (!is_providers_own(c, &a->verdicts[i]) || a->verdicts[i].scope == SCOPE_MESSAGE)
            return false;
    out_relay_failed(c, out_conn_host(c), &a->verdicts[0]);
    return true;
}

static void send_on(struct out_conn *c, const struct verdict *v)
{
    out_conn_note_failure(c, verdict_copy(v)); /* from now on it stands */
    c->load.heard = must_alloc(sizeof *c->load.heard);
    describe(c, c->load.heard);
    out_dial_leave_host(c);
}

/* Of those verdicts the one that leaves most hope. */
static const struct verdict *most_hopeful(const struct smtp_client_action *a)
{
    for (size_t i = 0; i < a->n; i++)
        if (a->verdicts[i].kind == VERDICT_DEFERRED)
            return &a->verdicts[i];
    return &a->verdicts[0];
}

/* "Yes" to content that has not left our own buffers is no answer to it. */
static bool is_too_early(const struct out_conn *c, const struct smtp_client_action *a)
{
    if (!c->unsent || net_conn_unsent(c->link->net) == 0)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (a->verdicts[i].kind == VERDICT_DELIVERED)
            return true;
    return false;
}

static void leave_politely(struct out_conn *c, struct mono now)
{
    smtp_client_quit(c->client, now);
    net_conn_send(c->link->net, smtp_client_output(c->client));
}

/* Recipients for whom the connection had no transaction left have no verdict: for them it was no
 * attempt, and they go on at once, on another connection. */
void out_job_report_all(struct out_conn *c, bool ready)
{
    for (; c->load.first < c->load.job->n; c->load.first++)
        c->load.verdicts[c->load.first] = (struct verdict){0};
    out_job_report(c, c->load.verdicts, c->load.job->n, ready);
}

void out_job_untouched(struct out_conn *c)
{
    if (c->load.first > 0)
        out_job_report_all(c, false); /* not for some */
    else
        out_report_unattempted(c->o, c->id, TAKE_PTR(c->load.job), c->barred_ms);
}

static void report_too_early(struct out_conn *c, size_t n)
{
    for (; n > 0; n--)
        c->load.verdicts[c->load.first++] =
            verdict_of_fault(FAULT_SMTP_PROTOCOL, PHASE_EOD, SLICE_NONE);
    out_job_report_all(c, false);
}

/* --- chunks
 * ------------------------------------------------------------------------------------------------------------
 */

/* How long DATA is used instead: where BDAT is not understood; where it, perhaps, was the reason
 * that a message came to no end. */
#define NO_CHUNKING_MS (INT64_C(24) * 3600 * 1000)
#define DOUBT_MS (INT64_C(1) * 3600 * 1000)

/* Whatever was awaited then: chunks go before the answers to their envelope. */
static bool has_no_end(const struct verdict *v)
{
    return v->fault == FAULT_CONN_LOST || v->fault == FAULT_CONN_LOST_EOD ||
           v->fault == FAULT_SMTP_TIMEOUT || v->fault == FAULT_SMTP_TIMEOUT_EOD ||
           v->fault == FAULT_SMTP_PROTOCOL;
}

static void learn_of_chunks(const struct out_conn *c, const struct smtp_client_action *a,
                            struct mono now)
{
    for (size_t i = 0; i < a->n && smtp_client_used_chunks(c->client) && !c->rehearsal; i++) {
        const struct verdict *v = &a->verdicts[i];
        if (v->fault == FAULT_CHUNKING)
            out_learn(c->o, &c->peer, OUT_NO_CHUNKING, mono_add(now, NO_CHUNKING_MS));
        else if (has_no_end(v))
            out_learn(c->o, &c->peer, OUT_NO_CHUNKING, mono_add(now, DOUBT_MS));
    }
}

/* BDAT was not understood: nothing has arrived, and DATA will do. */
static bool needs_data(const struct smtp_client_action *a)
{
    for (size_t i = 0; i < a->n; i++)
        if (a->verdicts[i].fault == FAULT_CHUNKING)
            return true;
    return false;
}

bool out_job_is_last(const struct out_conn *c, struct mono now)
{
    return c->rehearsal || c->conf != c->o->conf ||
           now.ms - c->link->since.ms >= c->dest->connection_time_ms;
}

bool out_job_done(struct out_conn *c, const struct smtp_client_action *a, struct mono now)
{
    if (out_ahead_done(c, a, now))
        return true;
    c->data_ms = out_conn_since(c, now);
    c->begun = c->wants_body = false;
    MUST(a->n == c->load.n_now && a->n > 0);
    learn_of_chunks(c, a, now);
    if (needs_data(a) && c->jobs < 2 && c->load.first == 0) {
        out_conn_again(c);
        return false;
    }
    if (was_stale(c, a) && a->reusable) {
        leave_politely(c, now);
        out_conn_end(c);
        return false;
    }
    if (needs_data(a) || was_stale(c, a))
        return true; /* out_conn_end hands the job back, or what is left of it */
    if (is_too_early(c, a)) {
        report_too_early(c, a->n);
        out_conn_end(c);
        return false;
    }
    if (is_for_next_host(c, a)) {
        struct verdict v = verdict_copy(most_hopeful(a));
        const bool again = is_said_again(c, a);
        if (a->reusable)
            leave_politely(c, now);
        if (again)
            send_on(c, &v);
        out_conn_go_on(c, v);
        return false;
    }
    const bool left = is_left(c, a);
    out_rcpts_settle(c, a->verdicts, a->n);
    if (a->reusable && c->load.first < c->load.job->n)
        return true; /* READY follows, and the others' transaction */
    c->ending = left || out_job_is_last(c, now);
    out_job_report_all(c, a->reusable && !c->ending);
    return true;
}

/* --- a job
 * ----------------------------------------------------------------------------------------------------------------
 */

/* Rounded up: a deadline is never made shorter on the way. */
static int64_t seconds_left(struct wall deadline)
{
    int64_t us = deadline.us - wall_now().us;
    return us / WALL_SECOND + (us % WALL_SECOND > 0);
}

struct smtp_client_txn out_job_txn(const struct out_conn *c)
{
    const struct out_work *w = c->load.job;
    return (struct smtp_client_txn){
        .sender = buf_slice(&w->sender),
        .rcpts = c->load.addresses + c->load.first,
        .n_rcpts = w->n - c->load.first,
        .size = w->size,
        .eight_bit = w->eight_bit,
        .utf8_header = c->load.utf8_header,
        .params = w->params,
        .rehearsal = c->rehearsal,
        .envid = buf_slice(&w->envid),
        .by_s = w->params.by == MAIL_BY_NONE ? 0 : seconds_left(w->by_deadline),
        .asks = c->load.asks + c->load.first,
    };
}

/* In clear because a handshake failed is what one job was content with, and says nothing of the
 * next. */
bool out_job_suits(const struct out_conn *c, const struct smtp_client_txn *t)
{
    enum smtp_tls_level level = out_tls_level(c->dest, &c->load.job->params);
    bool secure = level < SMTP_TLS_ENCRYPT || level <= c->client_conf.tls;
    bool clear =
        !c->in_clear || out_may_go_in_clear(c->dest, &c->load.job->params, c->load.job->attempt);
    return secure && clear && smtp_client_suits(c->client, t);
}

void out_job_begin(struct out_conn *c, struct mono now)
{
    c->ready = false;
    c->waiting = !out_content_header(c);
    if (c->waiting)
        return;
    out_rcpts_prepare(c);
    struct smtp_client_txn t = out_job_txn(c);
    bool kept = c->load.first == 0 && c->jobs > 0;
    if ((kept && !out_job_suits(c, &t)) || !out_rcpts_choose(c)) {
        smtp_client_quit(c->client, now); /* CLOSE follows, and the job goes back */
        return;
    }
    t.n_rcpts = c->load.n_now;
    out_look_label(c, c->link->net);
    t.sender = out_rcpts_sender(c);
    c->begun = true;
    c->wants_body = false;
    c->sent = 0;
    c->jobs += c->load.first == 0;
    c->step = now;
    smtp_client_begin(c->client, &t, now);
}
