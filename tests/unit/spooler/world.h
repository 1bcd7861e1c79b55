/* What the core's tests share: a core on a real folder, driven one step at a time. */
#pragma once
#include "queue/id.h"
#include "relay/base/must.h"
#include "relay/spooler/core.h"
#include "relay/spooler/requests.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { SEEN_MAX = 128 };

struct world {
    char folder[64];
    struct file_ops *fs;
    struct spool *spool;
    struct core *core;
    struct wall now;
    struct mono mono;
    int64_t delay_warning_s, lifetime_s; /* 0: a day */
    const char *double_bounces;          /* NULL: nowhere */
    uint64_t last_id;
    struct core_action seen[SEEN_MAX]; /* batches and reads are done at once unless `hold` */
    size_t n;
    bool hold;
    struct core_batch *held;
    enum event_name events[SEEN_MAX];
    size_t n_events;
};

static inline void see_event(void *ctx, const struct event *e)
{
    struct world *w = ctx;
    w->events[w->n_events++] = e->name;
}

static inline void open_world(struct world *w)
{
    struct spool_options o = {
        .lifetime_s = 86400, .node = SLICE_LIT("t"), .segment_bytes = 1 << 20};
    struct spool_report report;
    struct err e = {0};
    int error = 0;
    w->fs = file_posix_new(w->folder, &error);
    assert_non_null(w->fs);
    assert_int_equal(spool_open(&w->spool, w->fs, &o, &report, &e), 0);
    struct core_conf c = {.retry = {.pause_s = {60}, .n = 1},
                          .lifetime_s = w->lifetime_s ? w->lifetime_s : 86400,
                          .delay_warning_s = w->delay_warning_s,
                          .loops = 1,
                          .seed = 1};
    snprintf(c.report_policy.double_bounces, sizeof c.report_policy.double_bounces, "%s",
             w->double_bounces ? w->double_bounces : "");
    w->core = core_new(w->spool, &c, w->now, w->mono);
    core_set_events(w->core, see_event, w);
    w->last_id = spool_last_id(w->spool);
}

static inline int setup(void **state)
{
    struct world *w = must_alloc(sizeof *w);
    snprintf(w->folder, sizeof w->folder, "/tmp/pw-core-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    w->now = (struct wall){INT64_C(1800000000) * WALL_SECOND};
    w->mono = (struct mono){1000};
    open_world(w);
    *state = w;
    return 0;
}

static inline void close_world(struct world *w)
{
    core_free(w->core);
    spool_close(w->spool);
    file_posix_free(w->fs);
}

static inline int teardown(void **state)
{
    struct world *w = *state;
    char command[128];
    close_world(w);
    snprintf(command, sizeof command, "rm -rf %s", w->folder);
    assert_int_equal(system(command), 0);
    free(w);
    return 0;
}

static inline void batch_done(struct world *w, struct core_batch *b)
{
    struct err e = {0};
    core_batch_run(b, NULL, NULL);
    assert_int_equal(core_batch_done(w->core, b, &e), 0);
}

static inline void pump_turn(struct world *w)
{
    struct core_action a;
    core_time(w->core, w->now, w->mono);
    while (core_next(w->core, &a)) {
        if (a.act == CORE_READ) {
            core_read_run(a.read);
            core_read_done(w->core, a.read);
        } else if (a.act == CORE_BATCH && w->hold) {
            w->held = a.batch;
        } else if (a.act == CORE_BATCH) {
            batch_done(w, a.batch);
        } else if (a.act == CORE_TASK) {
            spool_task_run(a.task);
            core_task_done(w->core, a.task);
        } else {
            assert_true(w->n < SEEN_MAX);
            w->seen[w->n++] = a;
        }
    }
}

/* Everything the core wants now; what is for others is kept in `seen`. */
static inline void pump_now(struct world *w)
{
    w->n = 0;
    do
        pump_turn(w);
    while (core_has_more(w->core));
}

static inline void pass(struct world *w, int64_t ms)
{
    w->now.us += ms * 1000;
    w->mono.ms += ms;
}

/* The same when a done-mark has waited for company as long as it may. */
static inline void pump(struct world *w)
{
    pass(w, CORE_LAZY_MS);
    pump_now(w);
}

static inline void give(struct world *w, void *request, enum spooler_type type)
{
    struct msg *m = request;
    m->type = type;
    core_time(w->core, w->now, w->mono);
    core_message(w->core, m);
}

static const struct envelope_rcpt rcpts[] = {{.address = {(const uint8_t *)"one@a.test", 10}},
                                             {.address = {(const uint8_t *)"two@a.test", 10}}};

static inline uint64_t store_envelope(struct world *w, const struct envelope *e, uint64_t serial)
{
    struct spooler_store *q = must_alloc(sizeof *q);
    q->id = w->last_id = queue_id_next(w->last_id, w->now);
    q->dsn_serial = serial;
    q->envelope = *e;
    q->envelope.size = 5;
    q->body = body_new(5);
    memcpy(q->body->bytes, "abc\r\n", 5);
    uint64_t id = q->id;
    give(w, q, SPOOLER_STORE);
    return id;
}

static inline uint64_t store(struct world *w, const char *sender, size_t n_rcpts, uint64_t dsn_for,
                             uint64_t serial)
{
    const struct envelope e = {.sender = slice_str(sender),
                               .message_id = SLICE_LIT("<m@x>"),
                               .dsn_for = dsn_for,
                               .rcpts = rcpts,
                               .n_rcpts = n_rcpts};
    return store_envelope(w, &e, serial);
}

static inline struct core_action *seen(struct world *w, enum core_act act, unsigned type)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->seen[i].act == act && w->seen[i].msg->type == type)
            return &w->seen[i];
    return NULL;
}

static inline void forget(struct world *w)
{
    for (size_t i = 0; i < w->n; i++) {
        if (w->seen[i].act == CORE_SEND)
            spooler_order_free(w->seen[i].msg);
        else
            spooler_request_free(w->seen[i].msg);
    }
    w->n = 0;
}

static inline void plan_free(struct frozen *f)
{
    free(f);
}

static inline void plan(struct world *w, const char *domain)
{
    struct spooler_plan *p = must_alloc(sizeof *p);
    p->plan = must_alloc(sizeof *p->plan);
    frozen_init(p->plan, plan_free);
    p->domain = buf_of(slice_str(domain));
    p->site = buf_of(SLICE_LIT("mx"));
    p->destination = buf_of(SLICE_LIT("default"));
    p->limits = (struct sched_limits){
        .connections = 4, .messages_per_connection = 10, .recipients_per_message = 100};
    p->ttl_ms = 3600000;
    give(w, p, SPOOLER_PLAN);
}

/* Gets a stored message as far as its job; returns the order, to be freed by the caller. */
static inline struct out_work *job_of(struct world *w)
{
    pump(w);
    forget(w);
    plan(w, "a.test");
    pump(w);
    struct core_action *a = seen(w, CORE_SEND, OUT_WORK);
    assert_non_null(a);
    struct out_work *job = (struct out_work *)(void *)a->msg;
    *a = w->seen[--w->n];
    forget(w);
    return job;
}

/* passed_on: the receiver took over DSN and DELIVERBY. */
static inline void result_passed(struct world *w, struct out_work *job,
                                 const struct verdict *verdicts, bool ready, bool passed_on)
{
    struct spooler_result *r = must_alloc(sizeof *r);
    r->conn = job->conn;
    r->ready = ready;
    r->attempted = verdicts != NULL;
    r->dsn_passed_on = r->deliver_by_passed_on = passed_on;
    r->message_id = job->message_id;
    r->n = job->n;
    r->rcpts = must_alloc(job->n * sizeof *r->rcpts);
    r->verdicts = must_alloc(job->n * sizeof *r->verdicts);
    for (size_t i = 0; i < job->n; i++) {
        r->rcpts[i] = job->rcpts[i];
        if (verdicts)
            r->verdicts[i] = verdict_copy(&verdicts[i]);
    }
    give(w, r, SPOOLER_RESULT);
    out_work_free(job);
}

static inline void result(struct world *w, struct out_work *job, const struct verdict *verdicts,
                          bool ready)
{
    result_passed(w, job, verdicts, ready, false);
}

static const struct verdict delivered = {
    .kind = VERDICT_DELIVERED, .code = 250, .enhanced = {2, 0, 0}, .phase = PHASE_EOD};
static const struct verdict refused = {
    .kind = VERDICT_FAILED, .code = 550, .enhanced = {5, 1, 1}, .phase = PHASE_RCPT};
static const struct verdict deferred = {
    .kind = VERDICT_DEFERRED, .code = 450, .enhanced = {4, 2, 1}, .phase = PHASE_RCPT};

static inline struct out_dsn *dsn(struct world *w)
{
    struct core_action *a = seen(w, CORE_SEND, OUT_DSN);
    return a ? (struct out_dsn *)(void *)a->msg : NULL;
}
