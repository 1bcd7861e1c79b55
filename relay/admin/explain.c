/*
 * explain: why a message is not there yet, or what would become of mail for an address. A message's
 * own state comes from the spooler; each way that its recipients take is asked of a net loop, which
 * finds it as delivery does. What only the house knows (suspensions, suppressed recipients) is put
 * in between.
 */
#include "relay/admin/private.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

/* What a person can read; the rest is counted. */
enum { WAYS_MAX = 8, RECIPIENTS_MAX = 100 };

struct way {
    struct buf recipient, route;
    uint32_t rcpt, attempt;
};

struct explaining {
    struct way ways[WAYS_MAX];
    size_t n_ways, at;
    uint64_t recipients, more; /* told; not told */
    uint64_t id;
    struct buf sender, user;
    struct mail_params params;
    bool begun;  /* the message itself is told */
    bool asking; /* a net loop has a question of ours */
    bool failed; /* a rehearsal did not come to a good end */
};

void explain_drop(struct explaining *e)
{
    if (!e)
        return;
    for (size_t i = 0; i < e->n_ways; i++) {
        buf_done(&e->ways[i].recipient);
        buf_done(&e->ways[i].route);
    }
    buf_done(&e->sender);
    buf_done(&e->user);
    free(e);
}

static struct buf copy(struct slice s)
{
    struct buf b = BUF_MAX(s.n + 1);
    buf_add(&b, s);
    return b;
}

static json_t *about(const char *what)
{
    json_t *o = json_object();
    rows_put(o, "about", json_string(what));
    return o;
}

/* ---- the ways ---- */

/* The suppression list is asked as the front door asks it. */
static void put_suppressed(struct peer *p, const struct explaining *e, struct slice recipient)
{
    const struct admin_hooks *h = &p->admin->hooks;
    char why[ADMIN_SUPPRESSED_WHY];
    bool drop;
    if (!h->suppress_asked(h->ctx, buf_slice(&e->user), recipient, why, &drop))
        return;
    json_t *o = about("suppressed");
    rows_put_text(o, "recipient", recipient);
    rows_put_text(o, "why", slice_str(why));
    rows_put(o, "outcome", json_string(drop ? "suppressed" : "refused"));
    peer_row(p, o);
}

static bool probes(const struct peer *p)
{
    return p->task.request.verb == VERB_PROBE;
}

static void next_way(struct peer *p)
{
    struct explaining *e = p->task.explaining;
    const struct admin_hooks *h = &p->admin->hooks;
    struct err why = {0};
    if (e->at == e->n_ways) {
        json_t *done = json_object();
        rows_put_number(done, "ways", e->n_ways);
        rows_put_number(done, "more", e->more);
        if (probes(p))
            rows_put(done, "accepted", json_boolean(!e->failed));
        peer_done(p, done);
        return;
    }
    const struct way *w = &e->ways[e->at++];
    const struct admin_explain a = {.recipient = buf_slice(&w->recipient),
                                    .route = buf_slice(&w->route),
                                    .sender = buf_slice(&e->sender),
                                    .id = e->id,
                                    .rcpt = w->rcpt,
                                    .attempt = w->attempt,
                                    .params = e->params,
                                    .probe = probes(p),
                                    .no_rcpt = p->task.request.no_rcpt};
    if (h->explain(h->ctx, &a, &p->admin->from_nets, p, &why) < 0) {
        peer_error(p, "usage", why.text);
        return;
    }
    p->task.asked = e->asking = true;
    p->admin->outstanding++;
    put_suppressed(p, e, a.recipient);
    deadline_set(p->admin->loop, &p->admin->beat_at,
                 mono_add(loop_now(p->admin->loop), PROGRESS_MS));
}

void explain_stop(struct peer *p)
{
    const struct admin_hooks *h = &p->admin->hooks;
    if (p->task.explaining && p->task.explaining->asking)
        h->explain_stop(h->ctx, p);
}

void explain_beat(void *admin, struct mono now)
{
    struct admin *a = admin;
    struct peer *p, *next;
    bool any = false;
    DL_FOREACH_SAFE (a->peers, p, next) {
        if (!p->task.tracing && (!p->task.explaining || !p->task.explaining->asking))
            continue;
        any = true;
        if (task_owes_progress(p))
            peer_progress(p, json_object());
    }
    deadline_set(a->loop, &a->beat_at, any ? mono_add(now, PROGRESS_MS) : MONO_NEVER);
}

static struct slice text_of(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return slice_of(json_string_value(v), json_string_length(v));
}

static void give_line(struct peer *p, struct slice line)
{
    json_t *o = json_loadb((const char *)line.p, line.n, 0, NULL);
    MUST(o);
    if (slice_eq(text_of(o, "about"), SLICE_LIT("site")))
        destinations_put_suspension(p->admin, o, text_of(o, "destination"), text_of(o, "site"));
    peer_row(p, o);
}

void explain_lines(struct peer *p, struct lines *l)
{
    struct slice rest = buf_slice(&l->text);
    const bool last = l->last;
    struct explaining *e = p->task.explaining;
    p->task.said = loop_now(p->admin->loop);
    e->failed = e->failed || (last && !l->good);
    e->asking = !last;
    while (rest.n)
        give_line(p, slice_cut(&rest, '\n'));
    lines_free(l);
    if (last)
        next_way(p);
}

void explain_address(struct peer *p)
{
    struct explaining *e = p->task.explaining = must_alloc(sizeof *e);
    const struct request *r = &p->task.request;
    e->user = copy(buf_slice(&r->import.user));
    e->sender = copy(buf_slice(&r->import.sender));
    e->ways[e->n_ways++] = (struct way){.recipient = copy(buf_slice(&r->address)), .attempt = 1};
    next_way(p);
}

/* ---- a message ---- */

static void put_message(struct peer *p, struct explaining *e, const struct queue_row *r)
{
    char id[QUEUE_ID_SIZE];
    json_t *o = about("message");
    queue_id_write(r->id, id);
    rows_put(o, "queue_id", json_string(id));
    rows_put(o, "sender", rows_text(r->sender));
    rows_put_text(o, "user", r->user);
    rows_put_number(o, "size", r->size);
    rows_put(o, "queued_time", rows_time(r->queued));
    rows_put_number(o, "recipients", r->n_rcpts);
    rows_put_text(o, "route", r->route);
    if (r->release.us)
        rows_put(o, "release", rows_time(r->release));
    if (r->params.by != MAIL_BY_NONE)
        rows_put(o, "deadline", rows_time(r->by_deadline));
    if (r->params.priority)
        rows_put(o, "priority", json_integer(r->params.priority));
    if (r->params.requiretls)
        rows_put(o, "requiretls", json_true());
    peer_row(p, o);
    e->begun = true;
    e->id = r->id;
    e->sender = copy(p->task.request.import.has_sender ? buf_slice(&p->task.request.import.sender)
                                                       : r->sender);
    e->user = copy(r->user);
    e->params = r->params;
}

/* Why now, or why not yet. */
static const char *why_then(const struct queue_row *r)
{
    if (r->active)
        return "an attempt is under way";
    if (r->state == RCPT_HELD)
        return "an operator holds it, until queue release";
    if (r->ready && r->stands_still)
        return "it is due, but nothing is begun at its site now: see there";
    if (r->ready)
        return "it is due, and stands in line";
    if (r->attempts > 0)
        return "the pause after its last attempt, as retry says";
    if (r->release.us && r->due.us >= r->release.us)
        return "its sender asks that it goes not before (FUTURERELEASE)";
    return "its first attempt is not due yet";
}

static const char *state_of(const struct queue_row *r)
{
    return r->active ? "active" : r->state == RCPT_HELD ? "held" : r->ready ? "ready" : "waiting";
}

static void put_recipient(struct peer *p, const struct queue_row *r)
{
    json_t *o = about("recipient");
    rows_put_text(o, "recipient", r->recipient);
    rows_put(o, "state", json_string(state_of(r)));
    rows_put_number(o, "attempt", r->attempts);
    if (r->last_attempt.us)
        rows_put(o, "last_attempt", rows_time(r->last_attempt));
    if (r->state == RCPT_QUEUED && !r->active)
        rows_put(o, "next_attempt", rows_time(r->due));
    rows_put(o, "why", json_string(why_then(r)));
    rows_put(o, "expires", rows_time(r->expires));
    rows_put_text(o, "mx_host", r->last_host);
    rows_put_text(o, "response", r->last_reply);
    rows_put_text(o, "redirected", r->redirected);
    peer_row(p, o);
}

/* Recipients of one domain and route go one way; the first of them stands for all. */
static void note_way(struct explaining *e, const struct queue_row *r, size_t ways_max)
{
    const struct slice route = r->redirected.n ? r->redirected : r->route;
    const struct slice domain = slice_behind_last(r->recipient, '@');
    for (size_t i = 0; i < e->n_ways; i++)
        if (slice_ieq(slice_behind_last(buf_slice(&e->ways[i].recipient), '@'), domain) &&
            slice_eq(buf_slice(&e->ways[i].route), route))
            return;
    if (e->n_ways == ways_max)
        return;
    e->ways[e->n_ways++] = (struct way){.recipient = copy(r->recipient),
                                        .route = copy(route),
                                        .rcpt = r->rcpt,
                                        .attempt = r->attempts + 1};
}

static void take_row(struct peer *p, struct explaining *e, const struct queue_row *r)
{
    if (!e->begun)
        put_message(p, e, r);
    if (rcpt_state_final(r->state))
        return;
    if (e->recipients == RECIPIENTS_MAX) {
        e->more++;
        return;
    }
    e->recipients++;
    put_recipient(p, r);
    note_way(e, r, probes(p) ? 1 : WAYS_MAX); /* one connection is enough */
}

void explain_go_on(struct peer *p)
{
    struct task *t = &p->task;
    if (!t->explaining)
        t->explaining = must_alloc(sizeof *t->explaining);
    struct explaining *e = t->explaining;
    for (size_t i = 0; i < t->page->n_rows; i++)
        take_row(p, e, &t->page->rows[i]);
    if (t->page->next.id) {
        task_next_page(p);
        return;
    }
    task_drop_page(t);
    if (e->recipients == 0)
        peer_no_message(p);
    else
        next_way(p);
}
