#include "relay/net/trace.h"
#include "relay/base/jrow.h"
#include "relay/base/must.h"
#include "relay/net/addr.h"
#include "relay/net/private.h"
#include <stdio.h>
#include <utlist.h>

enum { TRACE_BEGIN = 3000, TRACE_END, TRACE_LINES };

struct filter {
    struct buf from, to, site, client, id, user;
};

/* It may have more to show than there is room: `text` is what waits while `out` is with the reader.
 */
struct tracer {
    const struct port *reply;
    const void *cookie;
    struct filter filter;
    struct lines *here; /* NULL: it is with the reader */
    struct buf text;
    uint64_t lost;
    bool used, ending;
};

struct net_traces {
    struct net_local *local;
    struct loop *loop;
    struct port port;
    struct tracer tracers[NET_TRACERS_MAX];
    unsigned n; /* that look on */
    size_t n_traced;
    uint64_t last_connection;
};

struct order {
    struct msg msg;
    struct filter filter;
    const struct port *reply;
    void *cookie;
};

/* What one connection has shown so far. */
struct net_traced {
    struct buf kept; /* rows: of the beginning, then of the transaction */
    size_t head_n;   /* octets of the beginning; 0: there was no MAIL yet */
    bool has_head;
    bool skipped; /* a row was not kept */
    char name[40];
    struct buf site, destination, id, from, user;
    bool to[NET_TRACERS_MAX];      /* a recipient is one of this tracer's */
    bool matches[NET_TRACERS_MAX]; /* what comes is told to it … */
    bool begun[NET_TRACERS_MAX];   /* … and so was the beginning */
};

/* --- filters
 * ------------------------------------------------------------------------------------------------------------
 */

static struct buf copy(struct slice s)
{
    struct buf b = BUF_MAX(s.n + 1);
    buf_add(&b, s);
    return b;
}

static void filter_done(struct filter *f)
{
    buf_done(&f->from);
    buf_done(&f->to);
    buf_done(&f->site);
    buf_done(&f->client);
    buf_done(&f->id);
    buf_done(&f->user);
}

static bool is_client(const struct buf *wanted, const struct net_conn *c)
{
    struct net_cidr net, peer;
    return !c->caller && net_cidr_parse(buf_slice(wanted), &net) &&
           net_cidr_parse(slice_str(c->names.peer_ip), &peer) && peer.bits >= net.bits &&
           net_cidr_overlaps(&net, &peer);
}

static bool fits(const struct tracer *t, const struct net_conn *c, const struct net_traced *d,
                 size_t at)
{
    const struct filter *f = &t->filter;
    struct slice site = buf_slice(&f->site);
    return (f->client.n == 0 || is_client(&f->client, c)) &&
           (site.n == 0 || (c->caller && (slice_eq(site, buf_slice(&d->site)) ||
                                          slice_eq(site, buf_slice(&d->destination))))) &&
           (f->id.n == 0 || slice_ieq(buf_slice(&f->id), buf_slice(&d->id))) &&
           (f->user.n == 0 || slice_eq(buf_slice(&f->user), buf_slice(&d->user))) &&
           (f->from.n == 0 ||
            (d->has_head && slice_glob(buf_slice(&f->from), buf_slice(&d->from)))) &&
           (f->to.n == 0 || d->to[at]);
}

/* --- rows to a tracer
 * ------------------------------------------------------------------------------------------------------------
 */

static void send_what_waits(struct tracer *t, bool last)
{
    struct lines *l = t->here;
    t->here = NULL;
    buf_reset(&l->text);
    struct buf empty = l->text;
    l->text = t->text;
    t->text = empty;
    l->lost = t->lost;
    l->last = last;
    t->lost = 0;
    if (last)
        l->back = NULL;
    port_send(t->reply, &l->msg);
}

static void put(struct tracer *t, struct slice rows)
{
    if (t->text.n + rows.n > NET_TRACE_BYTES) {
        for (size_t i = 0; i < rows.n; i++)
            t->lost += rows.p[i] == '\n';
        return;
    }
    buf_add(&t->text, rows);
    if (t->here)
        send_what_waits(t, false);
}

static void tracer_done(struct net_traces *r, struct tracer *t)
{
    filter_done(&t->filter);
    buf_done(&t->text);
    if (t->here)
        lines_free(t->here);
    *t = (struct tracer){0};
    if (--r->n > 0)
        return;
    for (struct net_conn *c = r->local->conns; c; c = c->next)
        net_tap_leave(c);
}

/* --- connections
 * ------------------------------------------------------------------------------------------------------------
 */

static void keep(struct net_traced *d, struct slice row)
{
    if (d->kept.n + row.n <= NET_TRACE_KEPT)
        buf_add(&d->kept, row);
    else
        d->skipped = true;
}

static void tell(struct net_conn *c, struct net_traced *d, struct slice row)
{
    struct net_traces *r = c->local->traces;
    keep(d, row);
    for (size_t i = 0; i < NET_TRACERS_MAX; i++) {
        struct tracer *t = &r->tracers[i];
        if (!t->used || t->ending)
            continue;
        if (d->matches[i]) {
            put(t, row);
        } else if (fits(t, c, d, i)) {
            struct slice all = buf_slice(&d->kept);
            d->matches[i] = true;
            put(t, d->begun[i] ? slice_skip(all, d->head_n) : all);
            d->begun[i] = true;
            if (d->skipped)
                t->lost++;
        }
    }
}

static void begin_row(const struct net_conn *c, const struct net_traced *d, struct buf *row,
                      const char *who)
{
    jrow_begin(row);
    jrow_time(row, "time", wall_now());
    jrow_text(row, "direction", slice_str(c->caller ? "out" : "in"));
    jrow_text(row, c->caller ? "connection" : "session_id", slice_str(d->name));
    jrow_text(row, c->caller ? "mx_ip" : "client_ip", slice_str(c->names.peer_ip));
    jrow_number(row, c->caller ? "mx_port" : "client_port", c->names.peer_port);
    jrow_some(row, "site", buf_slice(&d->site));
    jrow_some(row, "queue_id", buf_slice(&d->id));
    jrow_some(row, "user", buf_slice(&d->user));
    jrow_text(row, "who", slice_str(who));
}

/* A new transaction: what was matched by the one before is so no more. */
static void begin_transaction(const struct net_traces *r, struct net_traced *d)
{
    if (!d->has_head)
        d->head_n = d->kept.n;
    d->has_head = true;
    buf_cut(&d->kept, d->head_n);
    d->skipped = false;
    for (size_t i = 0; i < NET_TRACERS_MAX; i++) {
        const struct filter *f = &r->tracers[i].filter;
        d->to[i] = false;
        d->matches[i] =
            d->matches[i] && f->from.n == 0 && f->to.n == 0 && f->id.n == 0 && f->user.n == 0;
    }
}

static void set(struct buf *to, struct slice s)
{
    buf_done(to);
    *to = copy(slice_head(s, 512));
}

/* The words of our own 250 name the message that has just come in. */
static void note_id(struct net_traced *d, struct slice text)
{
    const struct slice words = SLICE_LIT("queued as ");
    size_t at = slice_find_slice(text, words);
    if (slice_starts(text, SLICE_LIT("250")) && at < text.n) {
        struct slice rest = slice_skip(text, at + words.n);
        set(&d->id, slice_cut(&rest, ' '));
    }
}

static void learn(const struct net_conn *c, struct net_traced *d, const struct watch_line *l)
{
    const struct net_traces *r = c->local->traces;
    if (l->verb == WATCH_MAIL) {
        begin_transaction(r, d);
        set(&d->from, l->path);
        if (!c->caller)
            buf_done(&d->id);
    } else if (l->verb == WATCH_RCPT) {
        for (size_t i = 0; i < NET_TRACERS_MAX; i++)
            d->to[i] = d->to[i] || (r->tracers[i].filter.to.n > 0 &&
                                    slice_glob(buf_slice(&r->tracers[i].filter.to), l->path));
    } else if (!c->caller && l->who == WATCH_SERVER) {
        note_id(d, l->text);
    }
}

void net_traced_line(struct net_conn *c, struct net_traced *d, const struct watch_line *l)
{
    struct buf row = BUF_MAX(NET_TRACE_KEPT);
    if (!c->local->traces || c->local->traces->n == 0)
        return;
    learn(c, d, l);
    begin_row(c, d, &row, l->who == WATCH_CLIENT ? "client" : "server");
    jrow_some(&row, "text", l->text);
    if (l->hidden)
        jrow_number(&row, "hidden", l->hidden);
    jrow_end(&row);
    tell(c, d, buf_slice(&row));
    buf_done(&row);
}

void net_traced_note(struct net_conn *c, struct net_traced *d, const char *text)
{
    struct buf row = BUF_MAX(NET_TRACE_KEPT);
    if (!c->local->traces || c->local->traces->n == 0)
        return;
    begin_row(c, d, &row, "note");
    jrow_text(&row, "text", slice_str(text));
    jrow_end(&row);
    tell(c, d, buf_slice(&row));
    buf_done(&row);
}

struct net_traced *net_traced_new(struct net_conn *c)
{
    struct net_traces *r = c->local->traces;
    if (!r || r->n == 0)
        return NULL;
    if (r->n_traced == NET_TRACED_MAX) {
        for (size_t i = 0; i < NET_TRACERS_MAX; i++)
            r->tracers[i].lost += r->tracers[i].used;
        return NULL;
    }
    struct net_traced *d = must_alloc(sizeof *d);
    r->n_traced++;
    d->kept = BUF_MAX(NET_TRACE_KEPT);
    snprintf(d->name, sizeof d->name, "%u.%llu", loop_index(r->loop),
             (unsigned long long)++r->last_connection);
    return d;
}

void net_traced_free(struct net_conn *c, struct net_traced *d)
{
    if (!d)
        return;
    c->local->traces->n_traced--;
    buf_done(&d->kept);
    buf_done(&d->site);
    buf_done(&d->destination);
    buf_done(&d->id);
    buf_done(&d->from);
    buf_done(&d->user);
    free(d);
}

void net_traced_label(struct net_traced *d, const struct net_label *l)
{
    if (l->name)
        snprintf(d->name, sizeof d->name, "%s", l->name);
    if (l->site.n)
        set(&d->site, l->site);
    if (l->destination.n)
        set(&d->destination, l->destination);
    if (l->id.n)
        set(&d->id, l->id);
    if (l->user.p)
        set(&d->user, l->user);
}

/* --- orders
 * ------------------------------------------------------------------------------------------------------------
 */

static struct tracer *tracer_of(struct net_traces *r, const void *cookie)
{
    for (size_t i = 0; i < NET_TRACERS_MAX; i++)
        if (r->tracers[i].used && r->tracers[i].cookie == cookie)
            return &r->tracers[i];
    return NULL;
}

static struct lines *lines_new(struct net_traces *r, void *cookie)
{
    struct lines *l = must_alloc(sizeof *l);
    *l = (struct lines){.msg.type = TRACE_LINES,
                        .back = &r->port,
                        .cookie = cookie,
                        .source = loop_index(r->loop),
                        .text = BUF_MAX(NET_TRACE_BYTES)};
    return l;
}

/* What is known of a connection by this place's last tracer is not the new one's. */
static void meet(struct net_traces *r, struct net_conn *c, size_t at)
{
    struct net_traced *d = net_tap_traced(c);
    if (d)
        d->matches[at] = d->begun[at] = d->to[at] = false;
    else if (r->n_traced == NET_TRACED_MAX)
        r->tracers[at].lost++;
    else
        net_tap_join(c);
}

static void begin(struct net_traces *r, struct order *o)
{
    struct tracer *t = NULL;
    size_t at = 0;
    for (; at < NET_TRACERS_MAX && !t; at++)
        if (!r->tracers[at].used)
            t = &r->tracers[at];
    MUST(t); /* who asks counts them */
    at--;
    *t = (struct tracer){.used = true,
                         .reply = o->reply,
                         .cookie = o->cookie,
                         .filter = o->filter,
                         .here = lines_new(r, o->cookie),
                         .text = BUF_MAX(NET_TRACE_BYTES)};
    memset(&o->filter, 0, sizeof o->filter);
    r->n++;
    for (struct net_conn *c = r->local->conns; c; c = c->next)
        meet(r, c, at);
}

static void end(struct net_traces *r, const void *cookie)
{
    struct tracer *t = tracer_of(r, cookie);
    if (!t)
        return;
    t->ending = true;
    if (t->here) {
        send_what_waits(t, true);
        tracer_done(r, t);
    }
}

static void lines_are_back(struct net_traces *r, struct lines *l)
{
    struct tracer *t = tracer_of(r, l->cookie);
    MUST(t && !t->here);
    t->here = l;
    buf_reset(&l->text);
    if (t->ending) {
        send_what_waits(t, true);
        tracer_done(r, t);
    } else if (t->text.n > 0 || t->lost > 0) {
        send_what_waits(t, false);
    }
}

static void on_msg(void *ctx, struct msg *m)
{
    struct net_traces *r = ctx;
    struct order *o = (struct order *)(void *)m;
    if (m->type == TRACE_LINES) {
        lines_are_back(r, (struct lines *)(void *)m);
        return;
    }
    if (m->type == TRACE_BEGIN)
        begin(r, o);
    else
        end(r, o->cookie);
    filter_done(&o->filter);
    free(o);
}

struct net_traces *net_traces_new(struct loop *l, struct inbox *i)
{
    struct net_traces *r = must_alloc(sizeof *r);
    r->loop = l;
    r->local = net_local_of(l);
    r->local->traces = r;
    r->port = (struct port){.inbox = i, .fn = on_msg, .ctx = r};
    return r;
}

void net_traces_begin(struct net_traces *r, const struct net_trace_filter *f,
                      const struct port *reply, void *cookie)
{
    struct order *o = must_alloc(sizeof *o);
    *o = (struct order){.msg.type = TRACE_BEGIN,
                        .filter = {copy(f->from), copy(f->to), copy(f->site), copy(f->client),
                                   copy(f->id), copy(f->user)},
                        .reply = reply,
                        .cookie = cookie};
    port_send(&r->port, &o->msg);
}

void net_traces_end(struct net_traces *r, const void *cookie)
{
    struct order *o = must_alloc(sizeof *o);
    *o = (struct order){.msg.type = TRACE_END, .cookie = (void *)(uintptr_t)cookie};
    port_send(&r->port, &o->msg);
}

void net_traces_free(struct net_traces *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < NET_TRACERS_MAX; i++)
        if (r->tracers[i].used)
            tracer_done(r, &r->tracers[i]);
    r->local->traces = NULL;
    free(r);
}

bool net_traces_drop(struct msg *m)
{
    if (m->type < TRACE_BEGIN || m->type > TRACE_LINES)
        return false;
    if (m->type == TRACE_LINES) {
        lines_free((struct lines *)(void *)m);
        return true;
    }
    filter_done(&((struct order *)(void *)m)->filter);
    free(m);
    return true;
}
