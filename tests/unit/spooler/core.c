/* The core against a real folder, one step at a time: what is said too early here is mail lost in a
 * power cut. */
#include "relay/spooler/core.h"
#include "queue/id.h"
#include "relay/base/must.h"
#include "relay/spooler/requests.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { SEEN_MAX = 64 };

struct world {
    char folder[64];
    struct file_ops *fs;
    struct spool *spool;
    struct core *core;
    struct wall now;
    struct mono mono;
    uint64_t last_id;
    struct core_action seen[SEEN_MAX]; /* batches and reads are done at once unless `hold` */
    size_t n;
    bool hold;
    struct spool_batch *held;
    enum event_name events[SEEN_MAX];
    size_t n_events;
};

static void see_event(void *ctx, const struct event *e)
{
    struct world *w = ctx;
    w->events[w->n_events++] = e->name;
}

static void open_world(struct world *w)
{
    struct spool_options o = {
        .lifetime_s = 86400, .node = SLICE_LIT("t"), .segment_bytes = 1 << 20};
    struct spool_report report;
    struct err e = {0};
    int error = 0;
    w->fs = file_posix_new(w->folder, &error);
    assert_non_null(w->fs);
    assert_int_equal(spool_open(&w->spool, w->fs, &o, &report, &e), 0);
    struct core_conf c = {
        .retry = {.pause_s = {60}, .n = 1}, .lifetime_s = 86400, .loops = 1, .seed = 1};
    w->core = core_new(w->spool, &c, w->now, w->mono);
    core_set_events(w->core, see_event, w);
    w->last_id = spool_last_id(w->spool);
}

static int setup(void **state)
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

static void close_world(struct world *w)
{
    core_free(w->core);
    spool_close(w->spool);
    file_posix_free(w->fs);
}

static int teardown(void **state)
{
    struct world *w = *state;
    char command[128];
    close_world(w);
    snprintf(command, sizeof command, "rm -rf %s", w->folder);
    assert_int_equal(system(command), 0);
    free(w);
    return 0;
}

static void batch_done(struct world *w, struct spool_batch *b)
{
    struct err e = {0};
    spool_batch_run(b);
    assert_int_equal(core_batch_done(w->core, b, &e), 0);
}

/* Everything the core wants now; what is for others is kept in `seen`. */
static void pump_now(struct world *w)
{
    struct core_action a;
    w->n = 0;
    core_time(w->core, w->now, w->mono);
    while (core_next(w->core, &a)) {
        if (a.act == CORE_READ) {
            core_read_run(a.read);
            core_read_done(w->core, a.read);
        } else if (a.act == CORE_BATCH && w->hold) {
            w->held = a.batch;
        } else if (a.act == CORE_BATCH) {
            batch_done(w, a.batch);
        } else {
            assert_true(w->n < SEEN_MAX);
            w->seen[w->n++] = a;
        }
    }
}

static void pass(struct world *w, int64_t ms)
{
    w->now.us += ms * 1000;
    w->mono.ms += ms;
}

/* The same when a done-mark has waited for company as long as it may. */
static void pump(struct world *w)
{
    pass(w, CORE_LAZY_MS);
    pump_now(w);
}

static void give(struct world *w, void *request, enum spooler_type type)
{
    struct msg *m = request;
    m->type = type;
    core_time(w->core, w->now, w->mono);
    core_message(w->core, m);
}

static const struct envelope_rcpt rcpts[] = {{{(const uint8_t *)"one@a.test", 10}, {0}},
                                             {{(const uint8_t *)"two@a.test", 10}, {0}}};

static uint64_t store(struct world *w, const char *sender, size_t n_rcpts, uint64_t dsn_for,
                      uint64_t serial)
{
    struct spooler_store *q = must_alloc(sizeof *q);
    q->id = w->last_id = queue_id_next(w->last_id, w->now);
    q->dsn_serial = serial;
    q->envelope = (struct envelope){.sender = slice_str(sender),
                                    .message_id = SLICE_LIT("<m@x>"),
                                    .size = 5,
                                    .dsn_for = dsn_for,
                                    .rcpts = rcpts,
                                    .n_rcpts = n_rcpts};
    q->body = body_new(5);
    memcpy(q->body->bytes, "abc\r\n", 5);
    uint64_t id = q->id;
    give(w, q, SPOOLER_STORE);
    return id;
}

static struct core_action *seen(struct world *w, enum core_act act, unsigned type)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->seen[i].act == act && w->seen[i].msg->type == type)
            return &w->seen[i];
    return NULL;
}

static void forget(struct world *w)
{
    for (size_t i = 0; i < w->n; i++) {
        if (w->seen[i].act == CORE_SEND)
            spooler_order_free(w->seen[i].msg);
        else
            spooler_request_free(w->seen[i].msg);
    }
    w->n = 0;
}

static void plan_free(struct frozen *f)
{
    free(f);
}

static void plan(struct world *w, const char *domain)
{
    struct spooler_plan *p = must_alloc(sizeof *p);
    p->plan = must_alloc(sizeof *p->plan);
    frozen_init(p->plan, plan_free);
    p->domain = buf_of(slice_str(domain));
    p->site = buf_of(SLICE_LIT("mx"));
    p->destination = buf_of(SLICE_LIT("default"));
    p->limits = (struct sched_limits){4, 10, 100};
    p->ttl_ms = 3600000;
    give(w, p, SPOOLER_PLAN);
}

/* Gets a stored message as far as its job; returns the order, to be freed by the caller. */
static struct out_work *job_of(struct world *w)
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

static void result(struct world *w, struct out_work *job, const struct verdict *verdicts,
                   bool ready)
{
    struct spooler_result *r = must_alloc(sizeof *r);
    r->conn = job->conn;
    r->ready = ready;
    r->attempted = verdicts != NULL;
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

static const struct verdict delivered = {
    .kind = VERDICT_DELIVERED, .code = 250, .enhanced = {2, 0, 0}, .phase = PHASE_EOD};
static const struct verdict refused = {
    .kind = VERDICT_FAILED, .code = 550, .enhanced = {5, 1, 1}, .phase = PHASE_RCPT};
static const struct verdict deferred = {
    .kind = VERDICT_DEFERRED, .code = 450, .enhanced = {4, 2, 1}, .phase = PHASE_RCPT};

/* Promises 1 and 2: no 250, no event, no look-up before the sync. */
static void nothing_is_said_before_the_sync(void **state)
{
    struct world *w = *state;
    w->hold = true;
    store(w, "a@x.test", 2, 0, 0);
    pump(w);
    assert_non_null(w->held);
    assert_int_equal(w->n, 0);
    assert_int_equal(w->n_events, 0);
    /* One batch at a time: the second message waits for the next. */
    struct spool_batch *first = w->held;
    w->held = NULL;
    store(w, "a@x.test", 1, 0, 0);
    pump(w);
    assert_null(w->held);
    batch_done(w, first);
    pump(w);
    assert_int_equal(w->n, 2); /* answer, and RESOLVE */
    assert_non_null(seen(w, CORE_ANSWER, SPOOLER_STORE));
    assert_int_equal(
        ((struct spooler_store *)(void *)seen(w, CORE_ANSWER, SPOOLER_STORE)->msg)->error, 0);
    assert_non_null(seen(w, CORE_SEND, OUT_RESOLVE));
    assert_int_equal(w->n_events, 2);
    assert_non_null(w->held);
    forget(w);
    batch_done(w, w->held);
    w->hold = false;
}

/* One client after the other must not pay two syncs a message: the mark of the last goes with the
 * next. */
static void a_done_mark_waits_for_company(void **state)
{
    struct world *w = *state;
    struct verdict v[] = {delivered};
    uint64_t first = store(w, "a@x.test", 1, 0, 0);
    result(w, job_of(w), v, true);
    pump_now(w);
    assert_non_null(spool_find(w->spool, first)); /* nothing has gone to the disk … */
    struct wall wall;
    struct mono mono;
    core_deadline(w->core, &wall, &mono);
    assert_true(mono.ms <= w->mono.ms + CORE_LAZY_MS); /* … but it will by itself */
    forget(w);
    store(w, "a@x.test", 1, 0, 0);
    pump_now(w);
    assert_null(spool_find(w->spool, first));
    forget(w);
}

static void a_message_goes_out_and_is_forgotten(void **state)
{
    struct world *w = *state;
    uint64_t id = store(w, "a@x.test", 2, 0, 0);
    struct out_work *job = job_of(w);
    assert_int_equal(job->n, 2);
    assert_true(job->open && job->plan);
    assert_int_equal(job->attempt, 1);
    assert_int_equal(job->body->n, 5); /* from memory: nothing was read */
    assert_true(slice_eq(buf_slice(&job->addresses[1]), rcpts[1].address));
    struct verdict v[] = {delivered, delivered};
    result(w, job, v, true);
    assert_non_null(spool_find(w->spool, id)); /* until that is durable */
    pump(w);
    assert_null(spool_find(w->spool, id));
    assert_int_equal(w->n_events, 4);
    assert_int_equal(w->events[3], EVENT_DELIVERED);
    assert_null(seen(w, CORE_SEND, OUT_DSN));
    forget(w);
}

/* An idle connection that the peer closed first is no attempt. */
static void a_job_that_comes_back_untouched_goes_again(void **state)
{
    struct world *w = *state;
    uint64_t id = store(w, "a@x.test", 1, 0, 0);
    struct out_work *job = job_of(w);
    uint64_t conn = job->conn;
    result(w, job, NULL, false);
    struct spooler_conn_gone *gone = must_alloc(sizeof *gone);
    gone->conn = conn;
    give(w, gone, SPOOLER_CONN_GONE);
    pump(w);
    struct core_action *again = seen(w, CORE_SEND, OUT_WORK);
    assert_non_null(again);
    assert_int_equal(((struct out_work *)(void *)again->msg)->attempt, 1);
    assert_int_equal(spool_find(w->spool, id)->rcpts[0].attempts, 0);
    forget(w);
}

/* Promise 8: attempts and due times are the same after a restart, and what was with a connection
 * goes again. */
static void a_restart_keeps_what_was_decided(void **state)
{
    struct world *w = *state;
    uint64_t id = store(w, "a@x.test", 1, 0, 0);
    struct out_work *tried = job_of(w);
    struct wall decided = w->now;
    result(w, tried, &deferred, true);
    pump(w);
    forget(w);
    struct wall due = spool_find(w->spool, id)->rcpts[0].due;
    assert_int_equal(due.us, wall_add_s(decided, 60).us);
    uint64_t active = store(w, "a@x.test", 1, 0, 0);
    pump(w); /* it is with the idle connection */
    assert_non_null(seen(w, CORE_SEND, OUT_WORK));
    forget(w);

    close_world(w);
    open_world(w);
    struct message *m = spool_find(w->spool, id);
    assert_int_equal(m->rcpts[0].due.us, due.us);
    assert_int_equal(m->rcpts[0].attempts, 1);
    assert_false(spool_find(w->spool, active)->rcpts[0].active);
    struct out_work *job = job_of(w);
    assert_int_equal(job->message_id, active);
    assert_int_equal(job->body->n, 5); /* read again */
    result(w, job, &delivered, true);
    pump(w);
    forget(w);
    pass(w, 60000);
    pump(w);
    struct core_action *work = seen(w, CORE_SEND, OUT_WORK);
    if (!work) { /* the connection's five idle seconds are over */
        forget(w);
        pump(w);
        work = seen(w, CORE_SEND, OUT_WORK);
    }
    assert_non_null(work);
    assert_int_equal(((struct out_work *)(void *)work->msg)->attempt, 2);
    forget(w);
}

static struct out_dsn *dsn(struct world *w)
{
    struct core_action *a = seen(w, CORE_SEND, OUT_DSN);
    return a ? (struct out_dsn *)(void *)a->msg : NULL;
}

static void failures_are_told_once(void **state)
{
    struct world *w = *state;
    uint64_t id = store(w, "a@x.test", 2, 0, 0);
    struct verdict v[] = {refused, delivered};
    result(w, job_of(w), v, true);
    w->hold = true;
    pump(w);
    assert_null(dsn(w)); /* not before the failure is durable */
    batch_done(w, w->held);
    w->hold = false;
    pump(w);
    struct out_dsn *d = dsn(w);
    assert_non_null(d);
    assert_int_equal(d->n, 1);
    assert_int_equal(d->rcpts[0].verdict.code, 550);
    assert_true(d->original_whole);
    assert_int_equal(d->original->n, 5);
    uint64_t old = d->serial;
    forget(w);

    pass(w, 59000);
    pump(w);
    assert_null(dsn(w)); /* one at a time */
    forget(w);
    pass(w, 1000);
    pump(w);
    d = dsn(w);
    assert_non_null(d); /* it was lost: again */
    uint64_t serial = d->serial;
    forget(w);
    store(w, "", 1, id, old); /* the lost one comes after all: too late */
    store(w, "", 1, id, serial);
    store(w, "", 1, id, serial); /* twice */
    pump(w);
    int errors[3];
    size_t n = 0;
    for (size_t i = 0; i < w->n; i++)
        if (w->seen[i].act == CORE_ANSWER)
            errors[n++] = ((struct spooler_store *)(void *)w->seen[i].msg)->error;
    assert_int_equal(n, 3);
    assert_int_equal(errors[0] + errors[1] + errors[2], -2 * ESTALE);
    assert_null(spool_find(w->spool, id));
    forget(w);
    pass(w, 120000);
    pump(w);
    assert_null(dsn(w));
    forget(w);
}

static void nobody_is_told_of_a_failed_report(void **state)
{
    struct world *w = *state;
    store(w, "", 1, 0, 0);
    result(w, job_of(w), &refused, true);
    pump(w);
    assert_null(dsn(w));
    forget(w);
    struct spool_counts n;
    spool_count(w->spool, &n);
    assert_int_equal(n.messages, 0);
}

/* Promise 6: queued mail goes on, new mail is refused. */
static void a_full_disk_refuses_new_mail_only(void **state)
{
    struct world *w = *state;
    store(w, "a@x.test", 1, 0, 0);
    core_set_full(w->core, true);
    struct out_work *job = job_of(w);
    store(w, "a@x.test", 1, 0, 0);
    pump(w);
    struct core_action *a = seen(w, CORE_ANSWER, SPOOLER_STORE);
    assert_int_equal(((struct spooler_store *)(void *)a->msg)->error, -ENOSPC);
    forget(w);
    result(w, job, &delivered, true);
    pump(w);
    assert_int_equal(w->events[w->n_events - 1], EVENT_DELIVERED);
    forget(w);
    core_set_full(w->core, false);
    store(w, "a@x.test", 1, 0, 0);
    pump(w);
    a = seen(w, CORE_ANSWER, SPOOLER_STORE);
    assert_int_equal(((struct spooler_store *)(void *)a->msg)->error, 0);
    forget(w);
}

/* Promise 13's half: a pause is answered when the last attempt has ended, and starts none. */
static void pause_waits_for_attempts(void **state)
{
    struct world *w = *state;
    store(w, "a@x.test", 1, 0, 0);
    struct out_work *job = job_of(w);
    struct spooler_control *q = must_alloc(sizeof *q);
    q->what = SPOOLER_PAUSE;
    give(w, q, SPOOLER_CONTROL);
    store(w, "a@x.test", 1, 0, 0);
    pump(w);
    assert_null(seen(w, CORE_ANSWER, SPOOLER_CONTROL));
    assert_null(seen(w, CORE_SEND, OUT_WORK));
    forget(w);
    result(w, job, &delivered, true);
    pump(w);
    assert_non_null(seen(w, CORE_ANSWER, SPOOLER_CONTROL));
    assert_null(seen(w, CORE_SEND, OUT_WORK));
    forget(w);
    q = must_alloc(sizeof *q);
    q->what = SPOOLER_FLUSH;
    give(w, q, SPOOLER_CONTROL);
    pump(w);
    assert_non_null(seen(w, CORE_ANSWER, SPOOLER_CONTROL));
    forget(w);
}

/* --- operators
 * ----------------------------------------------------------------------------------------------------
 */

static struct spooler_admin *ask(struct world *w, enum admin_verb verb, const char *to,
                                 uint64_t after, unsigned limit)
{
    struct spooler_admin *a = must_alloc(sizeof *a);
    a->verb = verb;
    a->after = after;
    a->limit = limit;
    a->filter.to = buf_of(slice_str(to));
    a->actor = buf_of(SLICE_LIT("root"));
    give(w, a, SPOOLER_ADMIN);
    pump(w);
    assert_ptr_equal(seen(w, CORE_ANSWER, SPOOLER_ADMIN)->msg, a);
    return a;
}

static void operators_hold_release_and_remove(void **state)
{
    struct world *w = *state;
    uint64_t id = store(w, "a@x.test", 2, 0, 0);
    pump(w);
    forget(w);
    struct spooler_admin *a = ask(w, ADMIN_HOLD, "one@*", 0, 0);
    assert_int_equal(a->matched, 1);
    assert_int_equal(a->changed, 1);
    assert_int_equal(a->next, 0);
    forget(w);
    assert_int_equal(spool_find(w->spool, id)->rcpts[0].state, RCPT_HELD);
    struct out_work *job = job_of(w);
    assert_int_equal(job->n, 1); /* only the other one goes */
    assert_int_equal(job->rcpts[0], 1);

    a = ask(w, ADMIN_LIST, "", 0, 0);
    assert_int_equal(a->n_rows, 2);
    assert_true(a->rows[1].active && a->rows[0].state == RCPT_HELD);
    assert_true(buf_slice(&a->rows[1].site).n > 0 && a->rows[0].site.n == 0);
    assert_true(slice_eq(buf_slice(&a->rows[1].site), buf_slice(&job->site)));
    assert_true(slice_eq(buf_slice(&a->rows[1].destination), buf_slice(&job->destination)));
    forget(w);
    a = ask(w, ADMIN_STATUS, "", 0, 0);
    assert_int_equal(a->totals.held, 1);
    assert_int_equal(a->totals.active, 1);
    assert_int_equal(a->n_sites, 1);
    assert_int_equal(a->sites[0].connections, 1);
    forget(w);

    /* What is with a connection is skipped, and tells so. */
    a = ask(w, ADMIN_REMOVE, "two@a.test", 0, 0);
    assert_int_equal(a->matched, 1);
    assert_int_equal(a->skipped, 1);
    forget(w);
    result(w, job, &deferred, true);
    pump(w);
    forget(w);
    a = ask(w, ADMIN_QUEUE, "", 0, 0);
    assert_int_equal(a->totals.waiting, 1);
    assert_int_equal(a->totals.age_buckets[0], 1);
    forget(w);
    a = ask(w, ADMIN_REMOVE, "two@a.test", 0, 0);
    assert_int_equal(a->changed, 1);
    assert_int_equal(w->events[w->n_events - 1], EVENT_CANCELLED);
    assert_null(dsn(w)); /* remove tells nobody */
    forget(w);
    a = ask(w, ADMIN_RELEASE, "", 0, 0);
    assert_int_equal(a->changed, 1);
    assert_non_null(seen(w, CORE_SEND, OUT_WORK));
    forget(w);
}

static void retry_makes_due_now(void **state)
{
    struct world *w = *state;
    store(w, "a@x.test", 1, 0, 0);
    result(w, job_of(w), &deferred, true);
    pump(w);
    assert_null(seen(w, CORE_SEND, OUT_WORK));
    forget(w);
    struct spooler_admin *a = ask(w, ADMIN_RETRY, "", 0, 0);
    assert_int_equal(a->changed, 1);
    assert_non_null(seen(w, CORE_SEND, OUT_WORK));
    forget(w);
}

/* Promise 32: no step is larger than asked; pages join without loss. */
static void listings_come_in_pages(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 25; i++) {
        store(w, "a@x.test", 1, 0, 0);
        pump(w);
        forget(w);
    }
    uint64_t after = 0, last = 0;
    size_t rows = 0, pages = 0;
    do {
        struct spooler_admin *a = ask(w, ADMIN_LIST, "", after, 10);
        assert_true(a->n_rows <= 10);
        for (size_t i = 0; i < a->n_rows; i++) {
            assert_true(a->rows[i].id > last);
            last = a->rows[i].id;
        }
        rows += a->n_rows;
        after = a->next;
        pages++;
        forget(w);
    } while (after);
    assert_int_equal(rows, 25);
    assert_int_equal(pages, 3);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_said_before_the_sync),
        TEST(a_message_goes_out_and_is_forgotten),
        TEST(a_job_that_comes_back_untouched_goes_again),
        TEST(a_restart_keeps_what_was_decided),
        TEST(failures_are_told_once),
        TEST(nobody_is_told_of_a_failed_report),
        TEST(a_full_disk_refuses_new_mail_only),
        TEST(pause_waits_for_attempts),
        TEST(a_done_mark_waits_for_company),
        TEST(operators_hold_release_and_remove),
        TEST(retry_makes_due_now),
        TEST(listings_come_in_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
