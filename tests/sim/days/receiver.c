/* What becomes of the core's orders: a resolver that knows all sites, and their receivers. */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/smtp/client.h"
#include "tests/sim/days/days.h"
#include <stdlib.h>

#define HASH_FUNCTION(key, length, ret_hash)                                                       \
    ((ret_hash) = (unsigned)slice_hash(slice_of((key), (length))))
#include <uthash.h>

#define CONNECT_US (INT64_C(50) * 1000)
#define NO_ANSWER_US (30 * SECOND_US)
#define BARRED_US (60 * SECOND_US)

struct conn {
    UT_hash_handle hh;
    uint64_t id;
    struct site *site;
    unsigned jobs;
    bool stands; /* the receiver has taken it */
    struct out_work *work, *ahead;
};

/* --- plans
 * -----------------------------------------------------------------------------------------
 */

static void plan_free(struct frozen *f)
{
    free(f);
}

static unsigned site_number(struct slice name)
{
    uint64_t n = 0;
    size_t dot = slice_find_slice(name, SLICE_LIT("s"));
    struct slice rest = slice_skip(name, dot + 1);
    MUST(slice_u64(slice_head(rest, slice_find(rest, '.')), 1000000, &n));
    return (unsigned)n;
}

/* "d0.s12.test": one answer in a hundred fails, for now. */
static void resolve(struct days *d, struct out_resolve *q)
{
    struct spooler_plan *p = must_alloc(sizeof *p);
    p->domain = buf_of(buf_slice(&q->domain));
    const unsigned n = site_number(buf_slice(&q->domain));
    p->limits = d->sites[n].limits; /* of the destination, whether there is a way or not */
    if (d->sites[n].unnamed || (!d->contest && days_below(d, 100) == 0)) {
        p->failed = verdict_of_fault(FAULT_DNS_SERVFAIL, PHASE_NONE, SLICE_NONE);
    } else {
        struct frozen *plan = must_alloc(sizeof *plan);
        char name[20];
        frozen_init(plan, plan_free);
        snprintf(name, sizeof name, "s%u", n);
        p->plan = plan;
        p->site = buf_of(slice_str(name));
        p->destination = buf_of(SLICE_LIT("default"));
        p->ttl_ms = 300 * 1000;
    }
    days_request(d, 20 * 1000, &p->msg, SPOOLER_PLAN);
    spooler_order_free(&q->msg);
}

/* --- connections -------------------------------------------------------------------------------
 */

static bool is_down(const struct days *d, const struct site *s)
{
    return s->dead || (d->now_us >= s->down_from && d->now_us < s->down_to);
}

static int64_t job_time(const struct days *d, const struct conn *c, bool opens)
{
    const struct site *s = c->site;
    if (is_down(d, s))
        return !opens ? CONNECT_US : s->ring_us ? s->ring_us : NO_ANSWER_US;
    if (!c->stands)
        return CONNECT_US;
    return (opens ? CONNECT_US : 0) + s->latency_us * (int64_t)c->work->n;
}

/* Of every other receiver: for the second half of a job's time its content is out, and the answer
 * is not here. */
static void begin(struct days *d, struct conn *c, bool opens)
{
    int64_t us = job_time(d, c, opens);
    days_after(d, us, W_DONE, c);
    if (!c->stands || opens || (c->site - d->sites) % 2)
        return;
    struct spooler_ahead *a = must_alloc(sizeof *a);
    a->conn = c->id;
    days_request(d, us / 2, &a->msg, SPOOLER_AHEAD);
}

static void work(struct days *d, struct out_work *w)
{
    struct conn *c;
    HASH_FIND(hh, d->conns, &w->conn, sizeof w->conn, c);
    MUST(!c == w->open);
    if (!c) {
        c = must_alloc(sizeof *c);
        c->id = w->conn;
        c->site = &d->sites[site_number(buf_slice(&w->site))];
        HASH_ADD(hh, d->conns, id, sizeof c->id, c);
        c->site->open++;
        c->stands = !is_down(d, c->site) && (!c->site->takes || c->site->standing < c->site->takes);
        c->site->standing += c->stands;
    }
    MUST(!c->work || !c->ahead);
    bool ahead = c->work;
    *(ahead ? &c->ahead : &c->work) = w;
    c->jobs++;
    if (c->site->limits.messages_per_connection &&
        c->jobs > c->site->limits.messages_per_connection)
        law_fail(d, "a connection carries %u messages", c->jobs);
    law_work(d, w, c->site);
    if (!ahead)
        begin(d, c, w->open);
}

static void conn_gone(struct days *d, struct conn *c, int64_t after_us)
{
    struct spooler_conn_gone *g = must_alloc(sizeof *g);
    g->conn = c->id;
    c->site->open--; /* the core hears of it later, so its own number is never below */
    c->site->standing -= c->stands;
    HASH_DEL(d->conns, c);
    if (c->work)
        out_work_free(c->work);
    if (c->ahead) /* not begun: for its recipients nothing has happened */
        out_work_free(c->ahead);
    free(c);
    days_request(d, after_us, &g->msg, SPOOLER_CONN_GONE);
}

static void close_conn(struct days *d, struct out_work *w)
{
    struct conn *c;
    HASH_FIND(hh, d->conns, &w->conn, sizeof w->conn, c);
    spooler_order_free(&w->msg);
    if (c && !c->work)
        conn_gone(d, c, 1000);
}

void receiver_order(struct days *d, struct msg *m)
{
    void *v = m;
    if (m->type == OUT_RESOLVE) {
        resolve(d, v);
    } else if (m->type == OUT_WORK) {
        work(d, v);
    } else if (m->type == OUT_CLOSE) {
        close_conn(d, v);
    } else {
        law_fail(d, "an order of type %u", m->type); /* no sender, no report */
        spooler_order_free(m);
    }
}

/* --- verdicts ------------------------------------------------------------------------------------
 */

/* A fifth more than it takes is what a receiver counts before it says so. */
static bool is_too_fast(struct days *d, struct site *s)
{
    int64_t minute = d->now_us / (60 * SECOND_US);
    s->n_minute = minute == s->minute ? s->n_minute + 1 : 1;
    s->minute = minute;
    return s->a_minute && s->n_minute > s->a_minute;
}

static struct verdict refuse(enum phase phase, struct smtp_reply reply)
{
    return smtp_trouble(phase, &reply);
}

/* The same recipient is unknown each time. */
static bool is_unknown(const struct days *d, const struct rcpt *r)
{
    return !d->contest && ((uint64_t)(r - d->rcpts) * UINT64_C(0x9e3779b97f4a7c15) >> 32) % 50 == 0;
}

static struct verdict of_rcpt(struct days *d, struct site *s, struct rcpt *r)
{
    if (r->first_us == 0)
        r->first_us = d->now_us;
    r->grey = s->grey && d->now_us - r->first_us < GREY_S * SECOND_US;
    if (r->grey)
        return refuse(PHASE_RCPT, SMTP_REPLY(451, 4, 7, 1, "Please come again later"));
    if (is_unknown(d, r))
        return refuse(PHASE_RCPT, SMTP_REPLY(550, 5, 1, 1, "no such user"));
    if (days_below(d, 1000) < s->fails)
        return refuse(PHASE_RCPT, SMTP_REPLY(452, 4, 2, 2, "mailbox full"));
    return refuse(PHASE_EOD, SMTP_REPLY(250, 2, 0, 0, "taken"));
}

/* True: the connection is of further use. */
static bool judge(struct days *d, struct conn *c, struct spooler_result *r)
{
    struct site *s = c->site;
    const struct mail *m = law_mail(d, r->message_id);
    bool lives = !is_down(d, s) && c->stands && !s->bars, fast = lives && is_too_fast(d, s);
    s->throttled += fast;
    s->turned_away += !is_down(d, s) && !c->stands && !s->bars;
    for (size_t i = 0; i < r->n; i++) {
        struct rcpt *rcpt = &d->rcpts[m->first + r->rcpts[i]];
        rcpt->grey = false;
        if (lives)
            r->verdicts[i] =
                fast ? refuse(PHASE_MAIL, SMTP_REPLY(451, 4, 7, 1, "rate limit exceeded"))
                     : of_rcpt(d, s, rcpt);
        else if (s->bars)
            r->verdicts[i] = verdict_of_fault(FAULT_LOGIN, PHASE_AUTH, SLICE_NONE);
        else if (is_down(d, s))
            r->verdicts[i] = verdict_of_fault(FAULT_CONNECT_TIMEOUT, PHASE_CONNECT, SLICE_NONE);
        else
            r->verdicts[i] =
                refuse(PHASE_BANNER, SMTP_REPLY(421, 4, 7, 0, "Error: too many connections"));
    }
    return lives;
}

void receiver_done(struct days *d, void *p)
{
    struct conn *c = p;
    struct out_work *w = c->work;
    struct spooler_result *r = must_alloc(sizeof *r);
    r->conn = c->id;
    r->message_id = w->message_id;
    r->n = w->n;
    r->rcpts = must_alloc(w->n * sizeof *r->rcpts);
    memcpy(r->rcpts, w->rcpts, w->n * sizeof *r->rcpts);
    /* A kept connection that turns out dead is no attempt; nor is one that must not log in. */
    r->attempted = !(is_down(d, c->site) && c->jobs > 1) && d->now_us >= c->site->barred_until;
    if (c->site->bars) {
        if (r->attempted)
            c->site->barred_until = d->now_us + BARRED_US;
        r->barred_ms = (c->site->barred_until - d->now_us) / 1000 + 1;
    }
    if (r->attempted) {
        r->verdicts = must_alloc(r->n * sizeof *r->verdicts);
        r->ready = judge(d, c, r);
        d->attempts++;
    }
    out_work_free(w);
    c->work = TAKE_PTR(c->ahead);
    bool ready = r->ready;
    days_request(d, 0, &r->msg, SPOOLER_RESULT);
    if (!ready)
        conn_gone(d, c, 1);
    else if (c->work)
        begin(d, c, false);
}

void receiver_free_all(struct days *d)
{
    struct conn *c, *next;
    HASH_ITER (hh, d->conns, c, next) {
        HASH_DEL(d->conns, c);
        if (c->work)
            out_work_free(c->work);
        if (c->ahead)
            out_work_free(c->ahead);
        free(c);
    }
}
