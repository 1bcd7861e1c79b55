/* A small world around the scheduler, for its tests: clocks, a plan, and the messages made for it.
 */
#pragma once
#include "queue/intern.h"
#include "queue/sched.h"
#include "relay/base/must.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct world {
    struct sched *s;
    struct wall now;
    struct mono mono;
    struct frozen plan;
    struct intern users;
    struct message *messages[4096];
    size_t n_messages;
    struct sched_limits limits;
    int8_t priority;   /* of the messages made from now on */
    const char *route; /* NULL: none */
};

static inline void plan_free(struct frozen *f)
{
    (void)f;
}

static inline void world_init(struct world *w, unsigned connections)
{
    *w = (struct world){.now = {INT64_C(1800000000) * WALL_SECOND}, .mono = {1000000}};
    w->limits = (struct sched_limits){.connections = connections, .recipients_per_message = 100};
    w->s = sched_new(2, 7);
    frozen_init(&w->plan, plan_free);
}

static inline void world_done(struct world *w)
{
    sched_free(w->s);
    assert_int_equal(atomic_load(&w->plan.refs), 1);
    for (size_t i = 0; i < w->n_messages; i++) {
        intern_put(&w->users, w->messages[i]->user);
        free(w->messages[i]);
    }
    intern_done(&w->users);
}

static inline void pass(struct world *w, int64_t ms)
{
    w->now.us += ms * 1000;
    w->mono.ms += ms;
}

/* n recipients rN@domain, due in `in_s` seconds; not added yet. */
static inline struct message *mail(struct world *w, const char *user, const char *domain,
                                   unsigned n, int64_t in_s)
{
    struct envelope_rcpt *rcpts = must_alloc(n * sizeof *rcpts);
    char(*texts)[100] = must_alloc(n * sizeof *texts);
    for (unsigned i = 0; i < n; i++) {
        snprintf(texts[i], sizeof texts[i], "r%u@%s", i, domain);
        rcpts[i].address = slice_str(texts[i]);
    }
    struct envelope e = {.route = slice_str(w->route),
                         .params = {.priority = w->priority},
                         .rcpts = rcpts,
                         .n_rcpts = n};
    struct message *m =
        message_new(w->n_messages + 1, &e, w->now, NULL, intern_get(&w->users, slice_str(user)));
    m->lifetime_s = 5 * 86400;
    for (unsigned i = 0; i < n; i++)
        m->rcpts[i].due = wall_add_s(w->now, in_s);
    free(texts);
    free(rcpts);
    assert_true(w->n_messages < sizeof w->messages / sizeof *w->messages);
    w->messages[w->n_messages++] = m;
    return m;
}

static inline struct message *add(struct world *w, const char *user, const char *domain, unsigned n)
{
    struct message *m = mail(w, user, domain, n, 0);
    for (unsigned i = 0; i < n; i++)
        sched_add(w->s, &m->rcpts[i]);
    return m;
}

static inline bool next(struct world *w, struct sched_action *a)
{
    return sched_next(w->s, w->now, w->mono, a);
}

static inline void expect(struct world *w, enum sched_act act, struct sched_action *a)
{
    assert_true(next(w, a));
    assert_int_equal(a->act, act);
}

static inline void expect_nothing(struct world *w)
{
    struct sched_action a;
    assert_false(next(w, &a));
}

static inline void plan(struct world *w, const char *domain, const char *site)
{
    sched_plan(w->s, slice_str(domain), slice_str(site), SLICE_LIT("default"), &w->limits, &w->plan,
               mono_add(w->mono, 3600 * 1000), w->mono);
}

/* The job is over: its recipients are nobody's. */
static inline void finish(struct sched_action *a)
{
    for (size_t i = 0; i < a->job.n; i++)
        a->job.rcpts[i]->active = false;
}

static inline void fail_job(struct world *w, struct sched_action *a, int64_t retry_s)
{
    finish(a);
    for (size_t i = 0; i < a->job.n; i++) {
        a->job.rcpts[i]->attempts++;
        a->job.rcpts[i]->due = wall_add_s(w->now, retry_s);
        sched_add(w->s, a->job.rcpts[i]);
    }
    sched_feedback(w->s, a->conn, SCHED_UNREACHABLE, 0, w->mono);
    sched_conn_gone(w->s, a->conn, w->mono);
}
