/* The core against a real folder, one step at a time: what is said too early here is mail lost in a
 * power cut. */
#include "tests/unit/spooler/world.h"

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
    struct core_batch *first = w->held;
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

static struct spooler_store *told[4];
static size_t n_told;

static void tell(void *ctx, const struct port *reply, struct msg *m)
{
    (void)ctx;
    (void)reply;
    assert_true(n_told < 4);
    told[n_told++] = (struct spooler_store *)(void *)m;
}

/* A client's 250 waits for the sync and for nothing else; it comes once. */
static void a_store_is_answered_right_behind_the_sync(void **state)
{
    struct world *w = *state;
    struct err e = {0};
    w->hold = true;
    n_told = 0;
    uint64_t first = store(w, "a@x.test", 1, 0, 0);
    uint64_t second = store(w, "b@x.test", 1, 0, 0);
    pump(w);
    struct core_batch *b = w->held;
    w->held = NULL;
    store(w, "c@x.test", 1, 0, 0); /* comes too late for this one */
    assert_int_equal(core_batch_run(b, tell, NULL), 0);
    assert_int_equal(n_told, 2);
    assert_true(told[0]->id == first && told[0]->error == 0);
    assert_true(told[1]->id == second && told[1]->error == 0);
    assert_int_equal(w->n_events, 0);
    /* It is the asker's again, who may be gone when the rest follows. */
    spooler_request_free(&told[0]->msg);
    spooler_request_free(&told[1]->msg);
    assert_int_equal(core_batch_done(w->core, b, &e), 0);
    pump(w);
    assert_null(seen(w, CORE_ANSWER, SPOOLER_STORE));
    assert_int_equal(w->n_events, 2);
    assert_non_null(seen(w, CORE_SEND, OUT_RESOLVE));
    assert_true(spool_find(w->spool, first)->durable && spool_find(w->spool, second)->durable);
    forget(w);
    w->hold = false;
    batch_done(w, w->held);
    w->held = NULL;
    pump(w);
    assert_non_null(seen(w, CORE_ANSWER, SPOOLER_STORE));
    forget(w);
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

/* Has the disk got what was stored last? */
static bool has_gone(struct world *w)
{
    pump_now(w);
    forget(w);
    return spool_find(w->spool, w->last_id)->durable;
}

/* Twenty busy clients must not cost ten syncs where two do; one client must not wait for twenty
 * that are slow. */
static void stores_wait_for_those_that_are_coming(void **state)
{
    struct world *w = *state;
    core_set_coming(w->core, 9);
    for (int i = 0; i < 3; i++) { /* one at a time: nobody waits, however many are coming */
        store(w, "a@x.test", 1, 0, 0);
        assert_true(has_gone(w));
    }
    store(w, "a@x.test", 1, 0, 0);
    store(w, "b@x.test", 1, 0, 0);
    assert_true(has_gone(w)); /* these had company, so from now on … */
    pass(w, CORE_GATHER_MS);
    core_set_coming(w->core, 2);
    for (int i = 0; i < 3; i++) {
        store(w, "c@x.test", 1, 0, 0); /* … three wait for a fourth … */
        assert_false(has_gone(w));
    }
    store(w, "d@x.test", 1, 0, 0);
    assert_true(has_gone(w));
    store(w, "e@x.test", 1, 0, 0); /* … and nobody longer than this … */
    assert_false(has_gone(w));
    struct wall wall;
    struct mono mono;
    core_deadline(w->core, &wall, &mono);
    assert_true(mono.ms <= w->mono.ms + CORE_GATHER_MS);
    pass(w, CORE_GATHER_MS - 1);
    assert_false(has_gone(w));
    pass(w, 1);
    assert_true(has_gone(w));
    store(w, "f@x.test", 1, 0, 0); /* … but that one had waited in vain: the next does not. */
    assert_true(has_gone(w));
}

/* Those who have just heard 250 are about to say MAIL: if nobody counted them, every other batch of
 * busy clients would be half empty. */
static void stores_wait_for_those_that_were_just_answered(void **state)
{
    struct world *w = *state;
    core_set_coming(w->core, 0);
    for (int i = 0; i < 6; i++)
        store(w, "a@x.test", 1, 0, 0);
    assert_true(has_gone(w));
    for (int i = 0; i < 3; i++) {
        store(w, "b@x.test", 1, 0, 0); /* the next of one of the six: two thirds are four … */
        assert_false(has_gone(w));
    }
    store(w, "c@x.test", 1, 0, 0);
    assert_true(has_gone(w));
    pass(w, CORE_GATHER_MS); /* … and who has not come back by then is not expected any more */
    store(w, "d@x.test", 1, 0, 0);
    assert_true(has_gone(w));
}

/* Of a thousand busy clients nobody waits for six hundred others. */
static void enough_stores_wait_for_no_more(void **state)
{
    struct world *w = *state;
    store(w, "a@x.test", 1, 0, 0);
    store(w, "b@x.test", 1, 0, 0);
    assert_true(has_gone(w));
    core_set_coming(w->core, 1000);
    for (int i = 1; i < CORE_GATHER_MAX; i++)
        store(w, "c@x.test", 1, 0, 0);
    assert_false(has_gone(w));
    store(w, "d@x.test", 1, 0, 0);
    assert_true(has_gone(w));
}

/* Nor does it wait for those that have gone away. */
static void stores_wait_for_nobody_who_does_not_come(void **state)
{
    struct world *w = *state;
    store(w, "a@x.test", 1, 0, 0);
    store(w, "b@x.test", 1, 0, 0);
    assert_true(has_gone(w));
    pass(w, CORE_GATHER_MS);
    core_set_coming(w->core, 1);
    store(w, "c@x.test", 1, 0, 0);
    assert_false(has_gone(w));
    core_set_coming(w->core, 0);
    assert_true(has_gone(w));
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
/* The order for a connection, out of what was seen; to be freed by the caller. */
static struct out_work *next_job(struct world *w)
{
    struct core_action *a = seen(w, CORE_SEND, OUT_WORK);
    if (!a)
        return NULL;
    struct out_work *job = (struct out_work *)(void *)a->msg;
    *a = w->seen[--w->n];
    return job;
}

static void ask_ahead(struct world *w, uint64_t conn)
{
    struct spooler_ahead *ahead = must_alloc(sizeof *ahead);
    ahead->conn = conn;
    give(w, ahead, SPOOLER_AHEAD);
    pump(w);
}

/* One connection, and each recipient a job of its own: two with it may be of one message. */
static void plan_narrow(struct world *w)
{
    struct spooler_plan *p = must_alloc(sizeof *p);
    p->plan = must_alloc(sizeof *p->plan);
    frozen_init(p->plan, plan_free);
    p->domain = buf_of(SLICE_LIT("a.test"));
    p->site = buf_of(SLICE_LIT("mx"));
    p->destination = buf_of(SLICE_LIT("default"));
    p->limits = (struct sched_limits){.connections = 1, .recipients_per_message = 1};
    p->ttl_ms = 3600000;
    give(w, p, SPOOLER_PLAN);
}

static struct out_work *narrow(struct world *w)
{
    pump(w);
    forget(w);
    plan_narrow(w);
    pump(w);
    struct out_work *job = next_job(w);
    assert_non_null(job);
    assert_null(next_job(w));
    return job;
}

static const struct recipient *rcpt_of(struct world *w, uint64_t id, unsigned n)
{
    const struct message *m = spool_find(w->spool, id);
    assert_non_null(m);
    return &m->rcpts[n];
}

static void two_jobs_of_one_message(void **state)
{
    struct world *w = *state;
    uint64_t id = store(w, "a@x.test", 2, 0, 0);
    struct out_work *first = narrow(w);
    uint64_t conn = first->conn;
    ask_ahead(w, conn);
    struct out_work *second = next_job(w);
    assert_non_null(second);
    assert_int_equal(second->conn, conn);
    assert_false(second->open);
    assert_int_not_equal(second->rcpts[0], first->rcpts[0]);
    result(w, first, &delivered, true);
    pump(w);
    assert_int_equal(rcpt_of(w, id, 0)->state, RCPT_DELIVERED);
    assert_true(rcpt_of(w, id, 1)->active);
    result(w, second, &deferred, true);
    pump(w);
    assert_false(rcpt_of(w, id, 1)->active);
    assert_int_equal(rcpt_of(w, id, 1)->attempts, 1);
    forget(w);
}

/* It comes back while the first goes on: nothing is counted, and it is given again. */
static void a_job_ahead_comes_back(void **state)
{
    struct world *w = *state;
    uint64_t id = store(w, "a@x.test", 2, 0, 0);
    struct out_work *first = narrow(w);
    uint64_t conn = first->conn;
    ask_ahead(w, conn);
    struct out_work *second = next_job(w);
    uint32_t of = second->rcpts[0];
    result(w, second, NULL, false);
    pump(w);
    assert_null(next_job(w));
    assert_true(rcpt_of(w, id, first->rcpts[0])->active);
    assert_false(rcpt_of(w, id, of)->active);
    assert_int_equal(rcpt_of(w, id, of)->attempts, 0);
    result(w, first, &delivered, true);
    pump(w);
    second = next_job(w);
    assert_non_null(second);
    assert_int_equal(second->rcpts[0], of);
    assert_int_equal(second->attempt, 1);
    out_work_free(second);
    forget(w);
}

/* A connection that ends with both of them there owes nobody an attempt. */
static void a_connection_is_gone_with_two(void **state)
{
    struct world *w = *state;
    uint64_t id = store(w, "a@x.test", 2, 0, 0);
    struct out_work *first = narrow(w);
    ask_ahead(w, first->conn);
    struct out_work *second = next_job(w);
    struct spooler_conn_gone *gone = must_alloc(sizeof *gone);
    gone->conn = first->conn;
    give(w, gone, SPOOLER_CONN_GONE);
    result(w, second, NULL, false); /* the order crossed the end: for nobody */
    pump(w);
    struct out_work *again = next_job(w);
    assert_non_null(again);
    assert_true(again->open);
    assert_int_equal(rcpt_of(w, id, 0)->attempts + rcpt_of(w, id, 1)->attempts, 0);
    out_work_free(first);
    out_work_free(again);
    forget(w);
}

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
    core_set_full(w->core, "no room");
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
    core_set_full(w->core, NULL);
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

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_said_before_the_sync),
        TEST(a_store_is_answered_right_behind_the_sync),
        TEST(a_done_mark_waits_for_company),
        TEST(stores_wait_for_those_that_are_coming),
        TEST(stores_wait_for_those_that_were_just_answered),
        TEST(enough_stores_wait_for_no_more),
        TEST(stores_wait_for_nobody_who_does_not_come),
        TEST(a_message_goes_out_and_is_forgotten),
        TEST(a_job_that_comes_back_untouched_goes_again),
        TEST(two_jobs_of_one_message),
        TEST(a_job_ahead_comes_back),
        TEST(a_connection_is_gone_with_two),
        TEST(a_restart_keeps_what_was_decided),
        TEST(failures_are_told_once),
        TEST(nobody_is_told_of_a_failed_report),
        TEST(a_full_disk_refuses_new_mail_only),
        TEST(pause_waits_for_attempts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
