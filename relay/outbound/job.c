/*
 * What a connection carries: one job after the other. Each is answered once: by the verdicts of its
 * transaction, by the last address's failure, or untouched. The connection was kept and dead: no
 * attempt (checklist 69).
 */
#include "relay/base/must.h"
#include "relay/net/addr.h"
#include "relay/outbound/conn.h"
#include <stdlib.h>

#define PIECE 65536u
#define READ_PIECE SPOOL_INLINE_MAX

void out_job_drop(struct out_conn *c)
{
    if (c->job)
        out_work_free(c->job);
    free(c->addresses);
    c->job = NULL;
    c->addresses = NULL;
    c->begun = false;
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

static const char *policy_name(const struct out_conn *c)
{
    switch (c->client_conf.tls) {
    case SMTP_TLS_NONE:
        return "none";
    case SMTP_TLS_MAY:
        return "may";
    case SMTP_TLS_ENCRYPT:
        return "encrypt";
    case SMTP_TLS_VERIFY:
        return "verify";
    }
    UNREACHABLE();
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
    if (c->host < c->plan->n)
        add_host(&a->mx_host, out_conn_host(c));
    add_text(&a->mx_ip, c->names.peer_ip);
    add_text(&a->source_ip, c->names.local_ip);
    add_text(&a->tls_version, tls.version);
    add_text(&a->tls_cipher, tls.cipher);
    a->tls_policy = c->talked ? policy_name(c) : NULL;
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
    struct spooler_result *r = must_alloc(sizeof *r);
    struct out_work *w = c->job;
    r->msg.type = SPOOLER_RESULT;
    r->conn = c->id;
    r->ready = ready;
    r->attempted = true;
    r->message_id = w->message_id;
    r->n = w->n;
    r->rcpts = w->rcpts;
    w->rcpts = NULL;
    r->verdicts = must_alloc(r->n * sizeof *r->verdicts);
    for (size_t i = 0; i < r->n; i++)
        r->verdicts[i] = verdict_copy(&v[n == 1 ? 0 : i]);
    describe(c, &r->attempt);
    out_job_drop(c);
    out_send(c->o, &r->msg);
}

/* On a connection kept from before, "gone" or 421 in answer to MAIL says nothing about the mail. */
static bool was_stale(const struct out_conn *c, const struct smtp_client_action *a)
{
    if (c->jobs < 2 || a->reusable)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        const struct verdict *v = &a->verdicts[i];
        if (v->phase != PHASE_MAIL || (v->fault != FAULT_CONN_LOST && v->code != 421))
            return false;
    }
    return true;
}

/* A reason that another host of the site may not have: the connection broke, or the host speaks of
 * its own state (x.3.x). Not when the message may be there already, and not when the whole site
 * asks us to slow down. */
static bool is_hosts_own(const struct verdict *v)
{
    bool in_doubt = v->fault == FAULT_CONN_LOST_EOD || v->fault == FAULT_SMTP_TIMEOUT_EOD ||
                    (v->fault == FAULT_SMTP_PROTOCOL && v->phase == PHASE_EOD);
    bool own = v->scope == SCOPE_HOST ||
               (v->scope == SCOPE_MESSAGE && v->fault == FAULT_NONE && v->enhanced.subject == 3);
    return v->kind == VERDICT_DEFERRED && own && !in_doubt;
}

/* RFC 5321 section 5.1, checklist 58, 59: the next host is asked at once, as long as nobody has a
 * verdict of his own. */
static bool is_for_next_host(const struct out_conn *c, const struct smtp_client_action *a)
{
    if (c->jobs > 1 || !out_conn_has_next_address(c))
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (!is_hosts_own(&a->verdicts[i]))
            return false;
    return a->n > 0;
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

bool out_job_done(struct out_conn *c, const struct smtp_client_action *a, struct mono now)
{
    c->data_ms = out_conn_since(c, now);
    c->begun = false;
    MUST(a->n == c->job->n);
    if (was_stale(c, a))
        return true; /* out_conn_end hands the job back */
    if (is_too_early(c, a)) {
        struct verdict v = verdict_of_fault(FAULT_SMTP_PROTOCOL, PHASE_EOD, SLICE_NONE);
        out_job_report(c, &v, 1, false);
        verdict_done(&v);
        out_conn_end(c);
        return false;
    }
    if (is_for_next_host(c, a)) {
        struct verdict v = verdict_copy(&a->verdicts[0]);
        if (a->reusable)
            leave_politely(c, now);
        out_conn_go_on(c, v);
        return false;
    }
    /* A connection made under an older configuration carries nothing more. */
    out_job_report(c, a->verdicts, a->n, a->reusable && c->conf == c->o->conf);
    return true;
}

/* --- a job
 * ----------------------------------------------------------------------------------------------------------------
 */

void out_job_begin(struct out_conn *c, struct mono now)
{
    struct out_work *w = c->job;
    free(c->addresses);
    c->addresses = must_alloc(w->n * sizeof *c->addresses);
    for (size_t i = 0; i < w->n; i++)
        c->addresses[i] = buf_slice(&w->addresses[i]);
    struct smtp_client_txn t = {
        .sender = buf_slice(&w->sender),
        .rcpts = c->addresses,
        .n_rcpts = w->n,
        .size = w->size,
        .eight_bit = w->eight_bit,
    };
    c->begun = true;
    c->ready = false;
    c->sent = 0;
    c->jobs++;
    c->step = now;
    smtp_client_begin(c->client, &t, now);
}

/* --- content
 * --------------------------------------------------------------------------------------------------------------
 */

/* A question for content, and which connection asks. */
struct question {
    struct spooler_read read;
    uint64_t conn;
};

static void ask_for_content(struct out_conn *c)
{
    struct question *q = must_alloc(sizeof *q);
    q->conn = c->id;
    q->read.msg.type = SPOOLER_READ;
    q->read.reply = &c->o->port;
    q->read.id = c->job->message_id;
    q->read.offset = c->sent;
    q->read.n = READ_PIECE;
    c->reading = true;
    out_send(c->o, &q->read.msg);
}

static void content_failed(struct out_conn *c, enum fault f, struct mono now)
{
    struct verdict v = verdict_of_fault(f, PHASE_DATA, SLICE_NONE);
    smtp_client_body_failed(c->client, &v, now);
    verdict_done(&v);
}

/* An empty piece before the end means that there is less content than the envelope says. */
static void give_content(struct out_conn *c, struct slice piece, struct mono now)
{
    c->sent += piece.n;
    bool last = c->sent >= c->job->size;
    if (piece.n == 0 && !last)
        content_failed(c, FAULT_BODY_LOST, now);
    else
        smtp_client_body(c->client, piece, last, now);
}

void out_job_body(struct out_conn *c, struct mono now)
{
    const struct body *b = c->job->body;
    if (b)
        give_content(c, slice_head(slice_skip(slice_of(b->bytes, b->n), (size_t)c->sent), PIECE),
                     now);
    else if (!c->reading)
        ask_for_content(c);
}

void out_conn_read_answer(struct outbound *o, struct spooler_read *r)
{
    struct out_conn *c = NULL;
    uint64_t id = ((struct question *)(void *)r)->conn;
    HASH_FIND(hh, o->conns, &id, sizeof id, c);
    struct mono now = loop_now(o->loop);
    if (c && c->reading && c->job && c->job->message_id == r->id) {
        c->reading = false;
        if (!c->begun) {
            /* the transaction ended while we read */
        } else if (r->error == 0) {
            give_content(c, slice_of(r->body->bytes, r->body->n), now);
        } else {
            content_failed(c, r->error == -EBADMSG ? FAULT_BODY_LOST : FAULT_LOCAL, now);
        }
        if (c->client)
            out_conn_pump(c, now);
    }
    body_unref(r->body);
    free(r);
}
