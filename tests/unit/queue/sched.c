/* The scheduler: what breaks here is mail that stands still, a receiver that is flooded, or one
 * user's bulk before everybody's mail. */
#include "queue/sched.h"
#include "queue/heap.h"
#include "relay/base/must.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { CONNS_MAX = 100000 };

/* A small world around the scheduler: its clocks, a plan, and the messages made for it. */
struct world {
    struct sched *s;
    struct wall now;
    struct mono mono;
    struct frozen plan;
    struct message *messages[4096];
    size_t n_messages;
    struct sched_limits limits;
};

static void plan_free(struct frozen *f)
{
    (void)f;
}

static void world_init(struct world *w, unsigned connections)
{
    *w = (struct world){.now = {INT64_C(1800000000) * WALL_SECOND}, .mono = {1000000}};
    w->limits = (struct sched_limits){connections, 0, 100};
    w->s = sched_new(2, 7);
    frozen_init(&w->plan, plan_free);
}

static void world_done(struct world *w)
{
    sched_free(w->s);
    assert_int_equal(atomic_load(&w->plan.refs), 1);
    for (size_t i = 0; i < w->n_messages; i++) {
        struct message *m = w->messages[i];
        for (uint32_t r = 0; r < m->n_rcpts; r++)
            free((void *)(uintptr_t)m->rcpts[r].address.p);
        free(m->rcpts);
        free(m);
    }
}

static void pass(struct world *w, int64_t ms)
{
    w->now.us += ms * 1000;
    w->mono.ms += ms;
}

/* n recipients rN@domain, due in `in_s` seconds; not added yet. */
static struct message *message_new(struct world *w, const char *user, const char *domain,
                                   unsigned n, int64_t in_s)
{
    struct message *m = must_alloc(sizeof *m);
    m->id = w->n_messages + 1;
    m->queued = w->now;
    m->expires = wall_add_s(w->now, 5 * 86400);
    m->envelope.user = slice_str(user);
    m->rcpts = must_alloc(n * sizeof *m->rcpts);
    m->n_rcpts = m->n_left = n;
    for (unsigned i = 0; i < n; i++) {
        char text[100];
        snprintf(text, sizeof text, "r%u@%s", i, domain);
        char *copy = slice_dup(slice_str(text));
        m->rcpts[i] = (struct recipient){
            .message = m, .address = slice_str(copy), .due = wall_add_s(w->now, in_s)};
    }
    assert_true(w->n_messages < sizeof w->messages / sizeof *w->messages);
    w->messages[w->n_messages++] = m;
    return m;
}

static struct message *add(struct world *w, const char *user, const char *domain, unsigned n)
{
    struct message *m = message_new(w, user, domain, n, 0);
    for (unsigned i = 0; i < n; i++)
        sched_add(w->s, &m->rcpts[i]);
    return m;
}

static bool next(struct world *w, struct sched_action *a)
{
    return sched_next(w->s, w->now, w->mono, a);
}

static void expect(struct world *w, enum sched_act act, struct sched_action *a)
{
    assert_true(next(w, a));
    assert_int_equal(a->act, act);
}

static void expect_nothing(struct world *w)
{
    struct sched_action a;
    assert_false(next(w, &a));
}

static void plan(struct world *w, const char *domain, const char *site)
{
    sched_plan(w->s, slice_str(domain), slice_str(site), SLICE_LIT("default"), &w->limits, &w->plan,
               mono_add(w->mono, 3600 * 1000), w->mono);
}

/* The job is over: its recipients are nobody's. */
static void finish(struct sched_action *a)
{
    for (size_t i = 0; i < a->job.n; i++)
        a->job.rcpts[i]->active = false;
}

static void fail_job(struct world *w, struct sched_action *a, int64_t retry_s)
{
    finish(a);
    for (size_t i = 0; i < a->job.n; i++) {
        a->job.rcpts[i]->attempts++;
        a->job.rcpts[i]->due = wall_add_s(w->now, retry_s);
        sched_add(w->s, a->job.rcpts[i]);
    }
    sched_feedback(w->s, a->conn, SCHED_UNREACHABLE, w->now, w->mono);
    sched_conn_gone(w->s, a->conn, w->mono);
}

/* --- the way of one message
 * ------------------------------------------------------------------------------- */

static void one_message_resolve_open_and_reuse(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 10);
    struct message *m = add(&w, "u", "Example.COM", 3);
    expect(&w, SCHED_RESOLVE, &a);
    assert_true(slice_eq(a.domain, SLICE_LIT("example.com")));
    expect_nothing(&w); /* asked once */
    plan(&w, "example.com", "mx");
    expect(&w, SCHED_OPEN, &a);
    assert_ptr_equal(a.job.message, m);
    assert_int_equal(a.job.n, 3); /* recipients of one message go together */
    assert_ptr_equal(a.plan, &w.plan);
    assert_true(m->rcpts[0].active && m->rcpts[2].active);
    uint64_t conn = a.conn;
    finish(&a);
    sched_feedback(w.s, conn, SCHED_OK, w.now, w.mono);
    sched_conn_ready(w.s, conn, w.mono);
    expect_nothing(&w);

    add(&w, "u", "example.com", 1);
    expect(&w, SCHED_WORK, &a); /* no look-up, no new connection */
    assert_int_equal(a.conn, conn);
    finish(&a);
    sched_conn_ready(w.s, conn, w.mono);

    pass(&w, 4999);
    expect_nothing(&w);
    struct wall wall;
    struct mono mono;
    sched_deadline(w.s, &wall, &mono);
    assert_int_equal(mono.ms, w.mono.ms + 1);
    pass(&w, 1);
    expect(&w, SCHED_CLOSE, &a); /* idle for five seconds */
    assert_int_equal(a.conn, conn);
    sched_conn_gone(w.s, conn, w.mono);
    expect_nothing(&w);
    world_done(&w);
}

static void waits_until_due(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    struct wall wall;
    struct mono mono;
    uint64_t ready, waiting;
    world_init(&w, 10);
    struct message *m = message_new(&w, "u", "x.test", 1, 60);
    sched_add(w.s, &m->rcpts[0]);
    expect_nothing(&w);
    sched_deadline(w.s, &wall, &mono);
    assert_int_equal(wall.us, m->rcpts[0].due.us);
    assert_int_equal(mono.ms, MONO_NEVER.ms);
    sched_count(w.s, &ready, &waiting);
    assert_int_equal(waiting, 1);
    pass(&w, 59999);
    expect_nothing(&w);
    pass(&w, 1);
    expect(&w, SCHED_RESOLVE, &a);
    sched_count(w.s, &ready, &waiting);
    assert_int_equal(ready, 1);
    assert_int_equal(waiting, 0);

    /* An operator does not wait. */
    m = message_new(&w, "u", "y.test", 1, 3600);
    sched_add(w.s, &m->rcpts[0]);
    expect_nothing(&w);
    sched_hurry(w.s, &m->rcpts[0], w.now);
    expect(&w, SCHED_RESOLVE, &a);
    assert_true(slice_eq(a.domain, SLICE_LIT("y.test")));

    /* What is removed is gone, wherever it stood. */
    sched_remove(w.s, &m->rcpts[0]);
    plan(&w, "y.test", "mx");
    expect_nothing(&w);
    sched_remove(w.s, &m->rcpts[0]);
    world_done(&w);
}

/* All domains with the same MX set share a site, its window and its connections. */
static void domains_share_a_site(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a, b;
    world_init(&w, 1);
    add(&w, "u", "a.test", 1);
    add(&w, "u", "b.test", 1);
    expect(&w, SCHED_RESOLVE, &a);
    expect(&w, SCHED_RESOLVE, &b);
    plan(&w, "a.test", "google");
    plan(&w, "b.test", "google");
    expect(&w, SCHED_OPEN, &a);
    expect_nothing(&w);
    finish(&a);
    sched_conn_ready(w.s, a.conn, w.mono);
    expect(&w, SCHED_WORK, &b);
    assert_int_equal(a.conn, b.conn);
    finish(&b);
    world_done(&w);
}

struct handed {
    struct recipient *r[10];
    size_t n;
};
static void hand(void *ctx, struct recipient *r)
{
    struct handed *h = ctx;
    h->r[h->n++] = r;
}

static void no_plan_hands_out_the_due(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    struct handed h = {0};
    world_init(&w, 1);
    struct message *m = add(&w, "u", "gone.test", 2);
    struct message *later = message_new(&w, "u", "gone.test", 1, 60);
    sched_add(w.s, &later->rcpts[0]);
    expect(&w, SCHED_RESOLVE, &a);
    sched_plan_failed(w.s, SLICE_LIT("gone.test"), hand, &h);
    assert_int_equal(h.n, 2);
    assert_ptr_equal(h.r[0], &m->rcpts[0]);
    assert_ptr_equal(h.r[1], &m->rcpts[1]);
    expect_nothing(&w);
    pass(&w, 60000);
    expect(&w, SCHED_RESOLVE, &a); /* the other one asks for itself */
    sched_plan_failed(w.s, SLICE_LIT("unknown.test"), hand, &h);
    assert_int_equal(h.n, 2);
    world_done(&w);
}

/* Checklist 48: a retry looks again; and a plan that has become old is not used for new
 * connections. */
static void old_plans_are_asked_again(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 1);
    add(&w, "u", "a.test", 1);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "one");
    expect(&w, SCHED_OPEN, &a);
    struct message *backlog = add(&w, "u", "a.test", 1);
    expect_nothing(&w);
    pass(&w, 3600 * 1000);
    fail_job(&w, &a, 86400);
    expect(&w, SCHED_RESOLVE, &a); /* before opening for the backlog */
    expect_nothing(&w);
    plan(&w, "a.test", "two"); /* and it has moved */
    expect(&w, SCHED_OPEN, &a);
    assert_ptr_equal(a.job.message, backlog);
    assert_true(slice_eq(a.site, SLICE_LIT("two")));
    finish(&a);
    world_done(&w);
}

/* --- windows
 * -------------------------------------------------------------------------------------------------
 */

struct view_of {
    const char *site;
    struct sched_site_view v;
    bool found;
};
static void view_each(void *ctx, const struct sched_site_view *v)
{
    struct view_of *to = ctx;
    if (!slice_eq(v->site, slice_str(to->site)))
        return;
    to->v = *v;
    to->found = true;
}
static struct sched_site_view view(struct world *w, const char *site)
{
    struct view_of to = {.site = site};
    sched_each_site(w->s, view_each, &to);
    assert_true(to.found);
    return to.v;
}

static unsigned open_all(struct world *w, struct sched_action *to, unsigned max)
{
    unsigned n = 0;
    struct sched_action a;
    while (next(w, &a)) {
        assert_int_equal(a.act, SCHED_OPEN);
        assert_true(n < max);
        to[n++] = a;
    }
    return n;
}

static void window_opens_and_closes(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a, open[64];
    world_init(&w, 10);
    for (int i = 0; i < 60; i++)
        add(&w, "u", "a.test", 1);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "mx");
    assert_int_equal(open_all(&w, open, 64), 5); /* half the limit */
    finish(&open[0]);
    sched_feedback(w.s, open[0].conn, SCHED_OK, w.now, w.mono);
    assert_int_equal(view(&w, "mx").window, 6);
    sched_conn_gone(w.s, open[0].conn, w.mono);
    assert_int_equal(open_all(&w, open + 5, 64), 2);
    /* "too many connections": half of them, and nothing new until enough have gone */
    finish(&open[1]);
    sched_feedback(w.s, open[1].conn, SCHED_THROTTLED, w.now, w.mono);
    assert_int_equal(view(&w, "mx").window, 3);
    sched_conn_ready(w.s, open[1].conn, w.mono);
    expect(&w, SCHED_CLOSE, &a); /* not kept: more are open than the window */
    assert_int_equal(a.conn, open[1].conn);
    sched_conn_gone(w.s, open[1].conn, w.mono);
    expect_nothing(&w);
    for (int i = 2; i < 7; i++) {
        finish(&open[i]);
        sched_feedback(w.s, open[i].conn, SCHED_OK, w.now, w.mono);
    }
    for (int i = 0; i < 20; i++)
        sched_feedback(w.s, open[2].conn, SCHED_OK, w.now, w.mono);
    assert_int_equal(view(&w, "mx").window, 10); /* never above the limit */
    world_done(&w);
}

static void connections_are_changed_after_enough_messages(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 1);
    w.limits.messages_per_connection = 2;
    for (int i = 0; i < 3; i++)
        add(&w, "u", "a.test", 1);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "mx");
    expect(&w, SCHED_OPEN, &a);
    uint64_t conn = a.conn;
    finish(&a);
    sched_conn_ready(w.s, conn, w.mono);
    expect(&w, SCHED_WORK, &a);
    finish(&a);
    sched_conn_ready(w.s, conn, w.mono);
    expect(&w, SCHED_CLOSE, &a);
    expect_nothing(&w); /* the receiver still sees it: the window is full */
    sched_conn_gone(w.s, conn, w.mono);
    expect(&w, SCHED_OPEN, &a);
    assert_true(a.conn > conn);
    finish(&a);
    world_done(&w);
}

/* Promise 24's half: a dead site burns no attempts of what waits, is probed more and more rarely,
 * and comes back at once. */
static void dead_sites_are_probed(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 4);
    for (int i = 0; i < 50; i++)
        add(&w, "u", "dead.test", 1);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "dead.test", "mx");
    for (int i = 0; i < 3; i++) {
        expect(&w, SCHED_OPEN, &a);
        fail_job(&w, &a, 86400);
    }
    assert_true(view(&w, "mx").dead);
    w.limits.connections = 4;
    int64_t pause = 15000;
    for (int probe = 0; probe < 12; probe++) {
        expect_nothing(&w);
        pass(&w, pause * 8 / 10);
        expect_nothing(&w); /* ±10 % */
        struct wall wall;
        struct mono at;
        sched_deadline(w.s, &wall, &at);
        assert_true(at.ms <= w.mono.ms + pause * 3 / 10 + 1);
        pass(&w, pause * 3 / 10 + 1);
        plan(&w, "dead.test", "mx"); /* still fresh */
        expect(&w, SCHED_OPEN, &a);
        expect_nothing(&w); /* one at a time */
        fail_job(&w, &a, 86400);
        pause = pause * 2 < 1800000 ? pause * 2 : 1800000;
    }
    assert_int_equal(view(&w, "mx").ready, 50 - 15);
    pass(&w, pause * 11 / 10 + 1);
    plan(&w, "dead.test", "mx");
    expect(&w, SCHED_OPEN, &a);
    finish(&a);
    sched_feedback(w.s, a.conn, SCHED_OK, w.now, w.mono);
    sched_conn_ready(w.s, a.conn, w.mono);
    assert_false(view(&w, "mx").dead);
    expect(&w, SCHED_WORK, &a);
    finish(&a);
    expect(&w, SCHED_OPEN, &a); /* success wakes what waits */
    finish(&a);
    world_done(&w);
}

/* Promise 9: nothing stands before a dead site for ever. */
static void expires_in_line_before_a_dead_site(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 1);
    for (int i = 0; i < 5; i++)
        add(&w, "u", "dead.test", 1);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "dead.test", "mx");
    for (int i = 0; i < 3; i++) {
        expect(&w, SCHED_OPEN, &a);
        fail_job(&w, &a, 30 * 86400);
    }
    w.now.us += INT64_C(5) * 86400 * WALL_SECOND;
    for (int i = 0; i < 2; i++) {
        expect(&w, SCHED_EXPIRE, &a);
        assert_int_equal(a.job.n, 1);
        assert_false(a.job.rcpts[0]->active);
    }
    expect_nothing(&w);
    world_done(&w);
}

/* --- turns
 * ----------------------------------------------------------------------------------------------------
 */

/* Promise 25: one message behind a hundred thousand of another user goes with the next free
 * connection or the one after. */
static void users_take_turns(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 1);
    for (int i = 0; i < 2000; i++)
        add(&w, "bulk", "a.test", 1);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "mx");
    expect(&w, SCHED_OPEN, &a);
    uint64_t conn = a.conn;
    for (int i = 0; i < 500; i++) {
        finish(&a);
        sched_conn_ready(w.s, conn, w.mono);
        expect(&w, SCHED_WORK, &a);
    }
    struct message *other = add(&w, "other", "a.test", 1);
    bool served = false;
    for (int i = 0; i < 3 && !served; i++) {
        finish(&a);
        sched_conn_ready(w.s, conn, w.mono);
        expect(&w, SCHED_WORK, &a);
        served = a.job.message == other;
    }
    assert_true(served);
    finish(&a);
    world_done(&w);
}

/* Turns are counted by recipients: jobs of a hundred do not weigh as much as jobs of one. */
static void turns_count_recipients(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 1);
    for (int i = 0; i < 20; i++)
        add(&w, "lists", "a.test", 50);
    for (int i = 0; i < 600; i++)
        add(&w, "single", "a.test", 1);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "mx");
    expect(&w, SCHED_OPEN, &a);
    size_t lists = 0, single = 0;
    for (int i = 0; i < 510; i++) {
        bool is_list = slice_eq(a.job.message->envelope.user, SLICE_LIT("lists"));
        lists += is_list ? a.job.n : 0;
        single += is_list ? 0 : a.job.n;
        finish(&a);
        sched_conn_ready(w.s, a.conn, w.mono);
        expect(&w, SCHED_WORK, &a);
    }
    assert_true(lists >= 450 && lists <= 550);
    assert_true(single >= 450 && single <= 550);
    finish(&a);
    world_done(&w);
}

/* --- laws under chance
 * ---------------------------------------------------------------------------------------- */

struct conn_model {
    struct sched_action job;
    bool open, busy;
    char site;
};

struct model {
    struct world w;
    struct rng rng;
    struct conn_model conns[2000];
    unsigned open_at[3], delivered, total;
    uint64_t last_conn;
    bool broken; /* site 'c' answers nobody */
};

static const char *const domains[] = {"a1.test", "a2.test", "b1.test", "c1.test", "none.test"};

static bool chance(struct model *m, unsigned percent)
{
    return rng_below(&m->rng, 100) < percent;
}

static void take_job(struct model *m, const struct sched_action *a)
{
    struct conn_model *c = &m->conns[a->conn];
    assert_false(c->busy); /* never two jobs on one connection */
    c->busy = true;
    c->job = *a;
    for (size_t i = 0; i < a->job.n; i++) {
        assert_ptr_equal(a->job.rcpts[i]->message, a->job.message);
        assert_true(a->job.rcpts[i]->active && a->job.rcpts[i]->due.us <= m->w.now.us);
        assert_int_equal(a->job.rcpts[i]->state, RCPT_QUEUED);
    }
}

static void model_fail(void *ctx, struct recipient *r)
{
    struct model *m = ctx;
    r->due = wall_add_s(m->w.now, 5);
    r->attempts++;
    sched_add(m->w.s, r);
}

static void model_act(struct model *m, const struct sched_action *a)
{
    char domain[64], site[2] = {0};
    switch (a->act) {
    case SCHED_RESOLVE:
        assert_true(a->domain.n < sizeof domain);
        memcpy(domain, a->domain.p, a->domain.n);
        domain[a->domain.n] = 0;
        site[0] = domain[0];
        if (domain[0] == 'n' && chance(m, 60))
            sched_plan_failed(m->w.s, slice_str(domain), model_fail, m);
        else
            sched_plan(m->w.s, slice_str(domain), slice_str(site[0] == 'n' ? "a" : site),
                       SLICE_LIT("d"), &m->w.limits, &m->w.plan,
                       mono_add(m->w.mono, (int64_t)rng_below(&m->rng, 20000)), m->w.mono);
        return;
    case SCHED_OPEN:
        assert_true(a->conn > m->last_conn && a->conn < 2000);
        m->last_conn = a->conn;
        m->conns[a->conn].open = true;
        m->conns[a->conn].site = (char)a->site.p[0];
        m->open_at[a->site.p[0] - 'a']++;
        /* Never more than the limit; that the window holds is seen by its own test. */
        assert_true(m->open_at[a->site.p[0] - 'a'] <= m->w.limits.connections);
        take_job(m, a);
        return;
    case SCHED_WORK:
        assert_true(m->conns[a->conn].open);
        assert_int_equal(m->conns[a->conn].site, a->site.p[0]);
        take_job(m, a);
        return;
    case SCHED_CLOSE:
        assert_true(m->conns[a->conn].open && !m->conns[a->conn].busy);
        m->open_at[m->conns[a->conn].site - 'a']--;
        m->conns[a->conn].open = false;
        sched_conn_gone(m->w.s, a->conn, m->w.mono);
        return;
    case SCHED_EXPIRE:
        fail_msg("nothing is old here");
    }
}

static void model_finish(struct model *m, struct conn_model *c)
{
    bool fails = c->site == 'c' ? m->broken : chance(m, 10);
    finish(&c->job);
    c->busy = false;
    for (size_t i = 0; i < c->job.job.n; i++) {
        struct recipient *r = c->job.job.rcpts[i];
        if (fails || chance(m, 10)) {
            model_fail(m, r);
        } else {
            r->state = RCPT_DELIVERED;
            m->delivered++;
        }
    }
    uint64_t conn = c->job.conn;
    sched_feedback(m->w.s, conn, fails ? SCHED_UNREACHABLE : SCHED_OK, m->w.now, m->w.mono);
    if (!fails && chance(m, 70)) {
        sched_conn_ready(m->w.s, conn, m->w.mono);
        return;
    }
    c->open = false;
    m->open_at[c->site - 'a']--;
    sched_conn_gone(m->w.s, conn, m->w.mono);
}

static void model_round(struct model *m, bool adding)
{
    struct sched_action a;
    static const char *const users[] = {"", "u1", "u2"};
    if (adding && m->w.n_messages < 300 && chance(m, 60)) {
        unsigned n = 1 + (unsigned)rng_below(&m->rng, 6);
        struct message *added =
            add(&m->w, users[rng_below(&m->rng, 3)], domains[rng_below(&m->rng, 5)], n);
        m->total += n;
        if (chance(m, 5)) { /* an operator takes one away and gives it back later */
            sched_remove(m->w.s, &added->rcpts[0]);
            model_fail(m, &added->rcpts[0]);
        }
    }
    while (next(&m->w, &a))
        model_act(m, &a);
    for (uint64_t i = 1; i <= m->last_conn; i++)
        if (m->conns[i].busy && chance(m, 50))
            model_finish(m, &m->conns[i]);
    pass(&m->w, (int64_t)rng_below(&m->rng, 1500));
}

/* Whatever happens: limits hold, nothing is lent twice, and in the end everything has gone out. */
static void laws_hold_under_chance(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct model *m = must_alloc(sizeof *m);
        world_init(&m->w, 1 + (unsigned)seed % 4);
        m->w.limits.messages_per_connection = seed % 3 ? 5 : 0;
        m->w.limits.recipients_per_message = seed % 2 ? 2 : 100;
        rng_seed(&m->rng, seed);
        m->broken = true;
        for (int i = 0; i < 400; i++)
            model_round(m, true);
        m->broken = false;
        for (int i = 0; i < 40000 && m->delivered < m->total; i++)
            model_round(m, false);
        if (m->delivered != m->total)
            print_error("seed %llu: %u of %u\n", (unsigned long long)seed, m->delivered, m->total);
        assert_int_equal(m->delivered, m->total);
        uint64_t ready, waiting;
        sched_count(m->w.s, &ready, &waiting);
        assert_int_equal(ready + waiting, 0);
        world_done(&m->w);
        free(m);
    }
}

/* --- the heap
 * --------------------------------------------------------------------------------------------------
 */

static void heap_gives_the_smallest(void **state)
{
    (void)state;
    enum { N = 300 };
    struct {
        size_t index;
        int64_t key;
    } things[N] = {0};
    struct heap h = {0};
    struct rng r;
    rng_seed(&r, 3);
    for (int round = 0; round < 20000; round++) {
        size_t i = rng_below(&r, N);
        if (rng_below(&r, 3) == 0) {
            heap_drop(&h, &things[i].index);
        } else {
            things[i].key = (int64_t)rng_below(&r, 1000);
            heap_set(&h, &things[i].index, things[i].key);
        }
        int64_t least = INT64_MAX;
        size_t n = 0;
        for (size_t k = 0; k < N; k++) {
            if (!things[k].index)
                continue;
            least = things[k].key < least ? things[k].key : least;
            n++;
        }
        assert_int_equal(h.n, n);
        assert_int_equal(heap_top(&h) ? heap_top(&h)->key : INT64_MAX, least);
    }
    heap_done(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_message_resolve_open_and_reuse),
        cmocka_unit_test(waits_until_due),
        cmocka_unit_test(domains_share_a_site),
        cmocka_unit_test(no_plan_hands_out_the_due),
        cmocka_unit_test(old_plans_are_asked_again),
        cmocka_unit_test(window_opens_and_closes),
        cmocka_unit_test(connections_are_changed_after_enough_messages),
        cmocka_unit_test(dead_sites_are_probed),
        cmocka_unit_test(expires_in_line_before_a_dead_site),
        cmocka_unit_test(users_take_turns),
        cmocka_unit_test(turns_count_recipients),
        cmocka_unit_test(laws_hold_under_chance),
        cmocka_unit_test(heap_gives_the_smallest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
