/*
 * One connection to a site: made for its first job (hosts by preference, equal ones shuffled, at
 * most TRIES_MAX addresses), then fed with further jobs until it is told to close or the peer ends
 * it. The dialogue is the client machine's; this file gives it a socket, content and time, and
 * reports.
 *
 * What makes us try the next address: a failed connect, greeting, EHLO or TLS handshake. Once a
 * transaction has begun, its verdicts are final for this attempt. A kept connection that the peer
 * had closed meanwhile is not an attempt: the job goes back untouched (checklist 69).
 */
#include "relay/base/log.h"
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include "relay/net/addr.h"
#include "relay/outbound/private.h"
#include <stdlib.h>

#define TRIES_MAX 5
#define CONNECT_MS 30000
#define HANDSHAKE_MS 60000
#define PIECE 65536u
#define READ_PIECE SPOOL_INLINE_MAX

/* One socket of a connection; outlives it until the socket is closed. */
struct link {
    struct out_conn *conn; /* NULL: given up */
    struct net_conn *net;
};

struct out_conn {
    uint64_t id;
    struct outbound *o;
    struct conf *conf;
    const struct conf_destination *dest;
    struct plan *plan;
    size_t *order, host, addr; /* where we are: plan->hosts[order[host]].addrs[addr - 1] */
    unsigned tries;
    struct link *link;
    struct smtp_client_conf client_conf;
    struct smtp_client *client;
    bool in_clear;  /* this address gets no STARTTLS: its handshake has failed */
    bool had_ready; /* the session was ready once: no other address is tried any more */
    bool ready, begun, reading, pumping;
    struct out_work *job;
    struct slice *addresses; /* of the job */
    uint64_t sent;           /* octets of the job's content given to the machine */
    uint64_t jobs;
    struct verdict failure; /* the last address's */
    struct mono step;       /* since when the present step lasts */
    int32_t dns_ms, connect_ms, tls_ms, data_ms;
    UT_hash_handle hh;
};

static void next_address(struct out_conn *c);
static void pump(struct out_conn *c, struct mono now);

static int32_t since(const struct out_conn *c, struct mono now)
{
    return (int32_t)(now.ms - c->step.ms);
}

static const struct plan_host *host_of(const struct out_conn *c)
{
    return &c->plan->hosts[c->order[c->host]];
}

/* --- the end of things
 * ------------------------------------------------------------------------------------------------
 */

static void drop_job(struct out_conn *c)
{
    out_work_free(c->job);
    free(c->addresses);
    c->job = NULL;
    c->addresses = NULL;
    c->begun = false;
}

/* Lets go of socket and session; the socket closes by itself. */
static void unlink_socket(struct out_conn *c, bool politely)
{
    if (c->link) {
        c->link->conn = NULL;
        if (politely)
            net_conn_close(c->link->net);
        else
            net_conn_abort(c->link->net);
        c->link = NULL;
    }
    smtp_client_free(c->client);
    c->client = NULL;
    c->ready = false;
}

static void conn_free(struct out_conn *c)
{
    unlink_socket(c, true);
    if (c->job)
        drop_job(c);
    HASH_DEL(c->o->conns, c);
    verdict_done(&c->failure);
    plan_unref(c->plan);
    conf_unref(c->conf);
    free(c->order);
    free(c);
}

static void conn_end(struct out_conn *c)
{
    struct outbound *o = c->o;
    uint64_t id = c->id;
    if (c->job) {
        struct out_work *job = c->job;
        c->job = NULL;
        free(c->addresses);
        c->addresses = NULL;
        out_report_unattempted(o, id, job);
    }
    conn_free(c);
    out_report_gone(o, id);
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
    struct net_names names = {0};
    struct tls_info tls = {0};
    if (c->link) {
        net_conn_names(c->link->net, &names);
        tls = net_conn_tls_info(c->link->net);
    }
    if (c->host < c->plan->n)
        add_host(&a->mx_host, host_of(c));
    add_text(&a->mx_ip, names.peer_ip);
    add_text(&a->source_ip, names.local_ip);
    add_text(&a->tls_version, tls.version);
    add_text(&a->tls_cipher, tls.cipher);
    a->tls_policy = policy_name(c);
    a->mx_port = names.peer_port;
    a->reused = c->jobs > 1;
    a->tls_verified = tls.verified;
    a->dns_ms = c->jobs > 1 ? -1 : c->dns_ms;
    a->connect_ms = c->jobs > 1 ? -1 : c->connect_ms;
    a->tls_ms = c->jobs > 1 ? -1 : c->tls_ms;
    a->data_ms = c->data_ms;
}

/* Takes the job's list of recipients; verdicts are copied, one for all when n == 1. */
static void report(struct out_conn *c, const struct verdict *v, size_t n, bool ready)
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
    drop_job(c);
    port_send(c->o->spooler, &r->msg);
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

static void on_txn_done(struct out_conn *c, const struct smtp_client_action *a, struct mono now)
{
    c->data_ms = since(c, now);
    c->begun = false;
    if (was_stale(c, a))
        return; /* conn_end hands the job back */
    MUST(a->n == c->job->n);
    bool again = a->reusable;
    report(c, a->verdicts, a->n, again);
}

/* Every address failed, or the site cannot be used: the last cause is the verdict of the whole job.
 */
static void give_up(struct out_conn *c)
{
    if (c->failure.kind == VERDICT_NONE)
        c->failure = verdict_of_fault(FAULT_CONNECT_FAILED, PHASE_CONNECT, SLICE_NONE);
    if (c->job)
        report(c, &c->failure, 1, false);
    conn_end(c);
}

/* --- a job
 * ----------------------------------------------------------------------------------------------------------------
 */

static void begin_job(struct out_conn *c, struct mono now)
{
    struct out_work *w = c->job;
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

static void ask_for_content(struct out_conn *c)
{
    struct spooler_read *r = must_alloc(sizeof *r);
    r->msg.type = SPOOLER_READ;
    r->reply = &c->o->port;
    r->cookie = (void *)(uintptr_t)c->id;
    r->id = c->job->message_id;
    r->offset = c->sent;
    r->n = READ_PIECE;
    c->reading = true;
    port_send(c->o->spooler, &r->msg);
}

static void give_content(struct out_conn *c, struct slice piece, struct mono now)
{
    c->sent += piece.n;
    smtp_client_body(c->client, piece, c->sent >= c->job->size, now);
}

static void on_body(struct out_conn *c, struct mono now)
{
    struct body *b = c->job->body;
    if (b)
        give_content(c, slice_head(slice_skip(slice_of(b->bytes, b->n), (size_t)c->sent), PIECE),
                     now);
    else if (!c->reading)
        ask_for_content(c);
}

void out_conn_read_answer(struct outbound *o, struct spooler_read *r)
{
    struct out_conn *c = NULL;
    uint64_t id = (uint64_t)(uintptr_t)r->cookie;
    HASH_FIND(hh, o->conns, &id, sizeof id, c);
    struct mono now = loop_now(o->loop);
    if (c && c->job && c->reading && c->job->message_id == r->id) {
        c->reading = false;
        if (!c->begun) {
            /* the transaction ended while we read */
        } else if (r->error == 0 && r->body->n > 0) {
            give_content(c, slice_of(r->body->bytes, r->body->n), now);
        } else {
            enum fault f = r->error == -EBADMSG || r->error == 0 ? FAULT_BODY_LOST : FAULT_LOCAL;
            struct verdict v = verdict_of_fault(f, PHASE_DATA, SLICE_NONE);
            smtp_client_body_failed(c->client, &v, now);
            verdict_done(&v);
        }
        pump(c, now);
    }
    body_unref(r->body);
    free(r);
}

/* --- the session
 * ------------------------------------------------------------------------------------------------------------
 */

static void set_failure(struct out_conn *c, struct verdict v)
{
    verdict_done(&c->failure);
    c->failure = v;
}

/* The session broke before it was ready: perhaps the next address, or the same one in clear, does
 * better. Opportunistic TLS falls back only for mail that has already waited once (checklist 83).
 */
static void on_failed(struct out_conn *c, const struct verdict *v)
{
    bool retry_clear = v->fault == FAULT_TLS_HANDSHAKE && c->client_conf.tls == SMTP_TLS_MAY &&
                       c->job && c->job->attempt > 1;
    set_failure(c, verdict_copy(v));
    metric_add(M_CONNECTS_OUT_FAILED, 1);
    unlink_socket(c, true);
    if (c->had_ready) {
        conn_end(c);
        return;
    }
    if (retry_clear) {
        c->in_clear = true;
        c->addr--;
    }
    next_address(c);
}

static void flush(struct out_conn *c, struct mono now)
{
    struct slice out = smtp_client_output(c->client);
    if (out.n == 0 || net_conn_unsent(c->link->net) > 4 * PIECE)
        return;
    net_conn_send(c->link->net, out);
    smtp_client_sent(c->client, out.n, now);
}

static void on_ready(struct out_conn *c, struct mono now)
{
    c->ready = true;
    c->had_ready = true;
    if (c->job)
        begin_job(c, now);
}

/* Returns false when the session (or the connection) is gone. */
static bool act(struct out_conn *c, const struct smtp_client_action *a, struct mono now)
{
    switch (a->act) {
    case CLI_STARTTLS:
        flush(c, now);
        c->step = now;
        net_conn_start_tls(c->link->net, c->o->tls, false, slice_str(host_of(c)->name));
        net_conn_deadline(c->link->net, mono_add(now, HANDSHAKE_MS));
        return true;
    case CLI_READY:
        on_ready(c, now);
        return true;
    case CLI_BODY:
        on_body(c, now);
        return true;
    case CLI_TXN_DONE:
        on_txn_done(c, a, now);
        return true;
    case CLI_FAILED:
        on_failed(c, a->verdict);
        return false;
    case CLI_CLOSE:
        flush(c, now);
        conn_end(c);
        return false;
    }
    UNREACHABLE();
}

static void pump(struct out_conn *c, struct mono now)
{
    struct smtp_client_action a;
    MUST(!c->pumping);
    c->pumping = true;
    do {
        while (smtp_client_next(c->client, &a))
            if (!act(c, &a, now))
                return;
        flush(c, now);
    } while (smtp_client_next(c->client, &a) && act(c, &a, now));
    c->pumping = false;
    net_conn_deadline(c->link->net, smtp_client_deadline(c->client));
}

static size_t on_bytes(void *ctx, struct slice in, struct mono now)
{
    struct link *l = ctx;
    size_t taken = 0;
    while (l->conn && taken < in.n) {
        size_t n = smtp_client_bytes(l->conn->client, slice_skip(in, taken), now);
        taken += n;
        pump(l->conn, now);
        if (n == 0)
            break;
    }
    return l->conn ? taken : in.n;
}

static void on_tls(void *ctx, bool ok, const char *why, struct mono now)
{
    struct out_conn *c = ((struct link *)ctx)->conn;
    if (!c)
        return;
    c->tls_ms = since(c, now);
    smtp_client_tls_done(c->client, ok, slice_str(why), now);
    pump(c, now);
}

static void on_sent(void *ctx, struct mono now)
{
    struct link *l = ctx;
    if (l->conn && l->conn->client)
        pump(l->conn, now);
}

static void on_deadline(void *ctx, struct mono now)
{
    struct out_conn *c = ((struct link *)ctx)->conn;
    if (!c || !c->client)
        return;
    smtp_client_tick(c->client, now);
    pump(c, now);
}

static void on_eof(void *ctx, int err, struct mono now)
{
    struct link *l = ctx;
    if (!l->conn || !l->conn->client) {
        net_conn_close(l->net);
        return;
    }
    smtp_client_lost(l->conn->client, slice_str(err ? uv_strerror(err) : ""), now);
    pump(l->conn, now);
}

/* With a connection still there only when the loop has ended: out_conn_free_all comes next. */
static void on_closed(void *ctx)
{
    struct link *l = ctx;
    if (l->conn)
        l->conn->link = NULL;
    free(l);
}

static struct verdict connect_verdict(int err)
{
    enum fault f = err == -ECONNREFUSED ? FAULT_CONNECT_REFUSED
                   : err == -ETIMEDOUT  ? FAULT_CONNECT_TIMEOUT
                                        : FAULT_CONNECT_FAILED;
    return verdict_of_fault(f, PHASE_CONNECT,
                            f == FAULT_CONNECT_FAILED ? slice_str(uv_strerror(err)) : SLICE_NONE);
}

static enum smtp_tls_level tls_level(const struct out_conn *c)
{
    if (c->in_clear)
        return SMTP_TLS_NONE;
    switch (c->dest->tls) {
    case CONF_OUT_NONE:
        return SMTP_TLS_NONE;
    case CONF_OUT_MAY:
        return SMTP_TLS_MAY;
    case CONF_OUT_ENCRYPT:
        return SMTP_TLS_ENCRYPT;
    }
    UNREACHABLE();
}

static void on_connected(void *ctx, int err, struct mono now)
{
    struct link *l = ctx;
    struct out_conn *c = l->conn;
    if (!c)
        return;
    c->connect_ms = since(c, now);
    if (err) {
        metric_add(M_CONNECTS_OUT_FAILED, 1);
        set_failure(c, connect_verdict(err));
        unlink_socket(c, false);
        next_address(c);
        return;
    }
    c->client_conf = (struct smtp_client_conf){
        .helo = slice_str(c->dest->helo[0] ? c->dest->helo : c->conf->hostname),
        .tls = tls_level(c),
    };
    c->client = smtp_client_new(&c->client_conf, now);
    c->in_clear = false;
    pump(c, now);
}

static const struct net_handler link_handler = {
    .on_bytes = on_bytes,
    .on_connected = on_connected,
    .on_tls = on_tls,
    .on_sent = on_sent,
    .on_deadline = on_deadline,
    .on_eof = on_eof,
    .on_closed = on_closed,
};

/* --- the way there
 * ------------------------------------------------------------------------------------------------------------
 */

static void connect_to(struct out_conn *c, const struct sockaddr_storage *addr)
{
    struct sockaddr_storage to = *addr;
    if (c->dest->relay.n ==
        0) { /* plans are shared by destinations; the port is the destination's */
        if (to.ss_family == AF_INET6)
            ((struct sockaddr_in6 *)&to)->sin6_port = htons(c->dest->port);
        else
            ((struct sockaddr_in *)&to)->sin_port = htons(c->dest->port);
    }
    c->tries++;
    c->step = loop_now(c->o->loop);
    c->connect_ms = c->tls_ms = c->data_ms = -1;
    metric_add(M_CONNECTS_OUT, 1);
    struct link *l = must_alloc(sizeof *l);
    l->conn = c;
    c->link = l;
    l->net = net_connect(c->o->loop, (struct sockaddr *)&to, NULL, CONNECT_MS, &link_handler, l);
}

static void next_address(struct out_conn *c)
{
    c->pumping = false;
    while (c->host < c->plan->n && c->addr >= host_of(c)->n) {
        if (c->host + 1 == c->plan->n) { /* stay on the last host: its name is in the report */
            give_up(c);
            return;
        }
        c->host++;
        c->addr = 0;
    }
    if (c->plan->n == 0 || c->tries >= TRIES_MAX) {
        give_up(c);
        return;
    }
    connect_to(c, &host_of(c)->addrs[c->addr++]);
}

static const struct conf_destination *destination_named(const struct conf *conf, struct slice name)
{
    for (size_t i = 0; i < conf->n_destinations; i++)
        if (slice_eq(slice_str(conf->destinations[i].name), name))
            return &conf->destinations[i];
    return &conf->destinations[conf->n_destinations - 1];
}

static void open_conn(struct outbound *o, struct out_work *w)
{
    struct out_conn *c = must_alloc(sizeof *c);
    c->id = w->conn;
    c->o = o;
    c->conf = conf_ref(o->conf);
    c->dest = destination_named(c->conf, buf_slice(&w->destination));
    c->plan = (struct plan *)w->plan;
    w->plan = NULL;
    c->dns_ms = c->plan->dns_ms;
    c->order = must_alloc((c->plan->n + 1) * sizeof *c->order);
    plan_order(c->plan, &o->rng, c->order);
    c->job = w;
    HASH_ADD(hh, o->conns, id, sizeof c->id, c);
    next_address(c);
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
        out_report_unattempted(o, w->conn, w);
        return;
    }
    MUST(!c->job);
    c->job = w;
    if (c->ready) {
        struct mono now = loop_now(o->loop);
        begin_job(c, now);
        pump(c, now);
    }
}

void out_conn_close(struct outbound *o, struct out_work *w)
{
    struct out_conn *c = NULL;
    HASH_FIND(hh, o->conns, &w->conn, sizeof w->conn, c);
    if (c && c->ready && !c->job) {
        struct mono now = loop_now(o->loop);
        c->ready = false;
        smtp_client_quit(c->client, now);
        pump(c, now);
    } else if (c && !c->job) {
        conn_end(c);
    }
    out_work_free(w);
}

void out_conn_free_all(struct outbound *o)
{
    struct out_conn *c, *next;
    HASH_ITER (hh, o->conns, c, next)
        conn_free(c);
}
