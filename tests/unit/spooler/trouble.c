/*
 * The disk in trouble (promises 5, 10, 33): each error at each operation, once and for a minute.
 * What each client hears, that no attempt begins while nothing could be marked, that all resumes
 * without a restart and nothing answered 250 is lost.
 */
#include "relay/base/defer.h"
#include "relay/spooler/core.h"
#include "relay/spooler/requests.h"
#include "tests/unit/queue/kit.h"

static const struct envelope_rcpt rcpt = {.address = {(const uint8_t *)"r@a.test", 8}};
static const struct verdict delivered = {.kind = VERDICT_DELIVERED, .code = 250};
static const int errors[] = {-EIO, -ENOSPC, -EDQUOT, -EROFS, -EMFILE};
enum { N_ERRORS = sizeof errors / sizeof *errors, MESSAGES_MAX = 400, MINUTE_S = 60 };

struct world {
    struct fake_disk *disk;
    struct spool *spool;
    struct core *core;
    struct mono mono;
    bool hold; /* batches stay out */
    struct core_batch *held;
    uint64_t ids[MESSAGES_MAX];
    int answers[MESSAGES_MAX]; /* 1: not answered */
    size_t n;
    uint64_t job_conn, job_id; /* the attempt that waits for its result */
    unsigned attempts, cancelled, accepted, delivered, deferred, bounced;
};

static void on_event(void *ctx, const struct event *e)
{
    struct world *w = ctx;
    w->accepted += e->name == EVENT_ACCEPTED;
    w->cancelled += e->name == EVENT_CANCELLED;
    w->delivered += e->name == EVENT_DELIVERED;
    w->deferred += e->name == EVENT_DEFERRED;
    w->bounced += e->name == EVENT_BOUNCED;
}

static void on_answer(struct world *w, struct msg *m)
{
    const struct spooler_store *q = (const struct spooler_store *)(const void *)m;
    for (size_t i = 0; m->type == SPOOLER_STORE && i < w->n; i++)
        if (w->ids[i] == q->id) {
            assert_int_equal(w->answers[i], 1); /* answered once */
            w->answers[i] = q->error;
        }
    spooler_request_free(m);
}

static void now_is(struct world *w)
{
    struct wall wall = {NOW.us + w->mono.ms * 1000};
    core_time(w->core, wall, w->mono);
}

static void plan_free(struct frozen *f)
{
    free(f);
}

static void answer_resolve(struct world *w)
{
    struct spooler_plan *p = must_alloc(sizeof *p);
    p->msg.type = SPOOLER_PLAN;
    p->plan = must_alloc(sizeof *p->plan);
    frozen_init(p->plan, plan_free);
    p->domain = buf_of(SLICE_LIT("a.test"));
    p->site = buf_of(SLICE_LIT("mx"));
    p->destination = buf_of(SLICE_LIT("default"));
    p->limits = (struct sched_limits){
        .connections = 1, .messages_per_connection = 1000, .recipients_per_message = 1000};
    p->ttl_ms = 3600000;
    core_message(w->core, &p->msg);
}

static void conn_gone(struct world *w, uint64_t conn)
{
    struct spooler_conn_gone *g = must_alloc(sizeof *g);
    g->msg.type = SPOOLER_CONN_GONE;
    g->conn = conn;
    core_message(w->core, &g->msg);
}

static void on_order(struct world *w, struct msg *m)
{
    if (m->type == OUT_RESOLVE) {
        answer_resolve(w);
    } else if (m->type == OUT_WORK) {
        w->attempts++;
        w->job_conn = ((struct out_work *)(void *)m)->conn;
        w->job_id = ((struct out_work *)(void *)m)->message_id;
    } else if (m->type == OUT_CLOSE) {
        conn_gone(w, ((struct out_work *)(void *)m)->conn);
    }
    spooler_order_free(m);
}

static void answer_at_once(void *ctx, const struct port *reply, struct msg *m)
{
    (void)reply;
    on_answer(ctx, m);
}

static int batch_done(struct world *w, struct core_batch *b)
{
    struct err e = {0};
    core_batch_run(b, answer_at_once, w);
    int rc = core_batch_done(w->core, b, &e);
    assert_int_equal(rc < 0, e.code < 0);
    return rc;
}

static void pump(struct world *w)
{
    struct core_action a;
    now_is(w);
    while (core_next(w->core, &a)) {
        switch (a.act) {
        case CORE_BATCH:
            if (w->hold)
                w->held = a.batch;
            else
                batch_done(w, a.batch);
            break;
        case CORE_READ:
            core_read_run(a.read);
            core_read_done(w->core, a.read);
            break;
        case CORE_TASK:
            spool_task_run(a.task);
            core_task_done(w->core, a.task);
            break;
        case CORE_ANSWER:
            on_answer(w, a.msg);
            break;
        case CORE_SEND:
            on_order(w, a.msg);
            break;
        }
    }
}

static struct world *world_new(uint64_t segment_bytes)
{
    struct world *w = must_alloc(sizeof *w);
    struct core_conf conf = {.retry = {{60}, 1, 0}, .lifetime_s = 86400, .loops = 1};
    w->disk = fake_disk_new(1);
    w->mono.ms = 1000;
    w->spool = kit_open(w->disk, segment_bytes, NULL);
    w->core = core_new(w->spool, &conf, NOW, w->mono);
    core_set_events(w->core, on_event, w);
    return w;
}

static void world_free(struct world *w)
{
    core_free(w->core);
    spool_close(w->spool);
    fake_disk_free(w->disk);
    free(w);
}

static size_t store_for(struct world *w, int64_t patience_ms)
{
    struct spooler_store *q = must_alloc(sizeof *q);
    MUST(w->n < MESSAGES_MAX);
    q->msg.type = SPOOLER_STORE;
    q->asked = w->mono;
    q->patience_ms = patience_ms;
    q->id = w->ids[w->n] = spool_new_id(w->spool, NOW);
    w->answers[w->n] = 1;
    q->envelope =
        (struct envelope){.sender = SLICE_LIT("a@x.test"), .size = 4, .rcpts = &rcpt, .n_rcpts = 1};
    q->body = body_new(4);
    memcpy(q->body->bytes, "abc\n", 4);
    now_is(w);
    core_message(w->core, &q->msg);
    return w->n++;
}

static size_t store(struct world *w)
{
    return store_for(w, 30000);
}

static void result(struct world *w, const struct verdict *v)
{
    struct spooler_result *r = must_alloc(sizeof *r);
    assert_true(w->job_id != 0);
    r->msg.type = SPOOLER_RESULT;
    r->conn = w->job_conn;
    r->ready = true;
    r->attempted = true;
    r->message_id = w->job_id;
    r->n = 1;
    r->rcpts = must_alloc(sizeof *r->rcpts);
    r->verdicts = must_alloc(sizeof *r->verdicts);
    r->verdicts[0] = verdict_copy(v);
    w->job_id = 0;
    now_is(w);
    core_message(w->core, &r->msg);
}

static void pass(struct world *w, int64_t ms)
{
    w->mono.ms += ms;
    pump(w);
}

static bool in_trouble(const struct world *w)
{
    struct spooler_disk disk;
    core_disk(w->core, &disk);
    return disk.error[0];
}

/* Everything that was answered 250 is delivered in the end, by one attempt each. */
static void drain(struct world *w)
{
    for (int i = 0; i < 2 * MESSAGES_MAX && w->delivered + w->cancelled < w->accepted; i++) {
        pass(w, 1000);
        if (w->job_id)
            result(w, &delivered);
    }
    pass(w, 1000);
}

static void check_all(struct world *w)
{
    unsigned stored = 0;
    struct spool_counts n;
    drain(w);
    for (size_t i = 0; i < w->n; i++)
        stored += w->answers[i] == 0;
    assert_int_equal(w->delivered, stored);
    assert_int_equal(w->attempts, stored);
    assert_int_equal(w->deferred + w->bounced, 0);
    assert_int_equal(w->accepted, w->delivered + w->cancelled);
    spool_count(w->spool, &n);
    assert_int_equal(n.messages, 0);
    assert_false(in_trouble(w));
    assert_int_equal(core_accepting(w->core), 0);
}

/* One operation fails: its own message hears the true cause, the next one goes through at once. */
static void one_failure(void **state)
{
    (void)state;
    unsigned failed = 0;
    for (unsigned at = 1; at < 24; at++) {
        for (size_t e = 0; e < N_ERRORS; e++) {
            struct world *w = world_new(8192 + 2048);
            fake_disk_fail_at(w->disk, fake_disk_steps(w->disk) + at, errors[e]);
            for (int i = 0; i < 12; i++) {
                size_t k = store(w);
                pump(w);
                assert_true(w->answers[k] == 0 || w->answers[k] == errors[e]);
                assert_false(in_trouble(w)); /* tried again at once, elsewhere */
                failed += w->answers[k] != 0;
            }
            check_all(w);
            world_free(w);
        }
    }
    assert_true(failed > 20 * N_ERRORS); /* some only cost a spare, or a removal */
}

/* A disk that fails for a minute: 451 or 452 at once with its own error, what is in flight ends, no
 * attempt begins, and within two seconds after the minute all goes on. */
static void a_minute(unsigned ops, int error)
{
    struct world *w = world_new(64 * 1024);
    store(w);
    store(w);
    pump(w);
    assert_int_equal(w->attempts, 1); /* one connection: the other message is in line */
    fake_disk_fail_only(w->disk, ops);
    fake_disk_fail_from(w->disk, fake_disk_steps(w->disk) + 1, error);
    result(w, &delivered); /* its done-mark has to wait */
    pass(w, 10);
    assert_true(in_trouble(w));
    for (int s = 0; s < MINUTE_S; s++) {
        size_t k = store(w);
        pass(w, 1000);
        assert_int_equal(w->answers[k], error);
        assert_int_equal(w->attempts, 1);
        assert_int_equal(w->delivered, 0); /* nothing is told that is not durable */
        assert_int_equal(core_accepting(w->core), error);
    }
    fake_disk_fail_from(w->disk, 0, 0);
    pass(w, 1000);
    assert_false(in_trouble(w));
    assert_int_equal(w->delivered, 1);
    assert_int_equal(w->attempts, 2);
    size_t again = store(w);
    pump(w);
    assert_int_equal(w->answers[again], 0);
    check_all(w);
    world_free(w);
}

static void for_a_minute(void **state)
{
    (void)state;
    for (size_t e = 0; e < N_ERRORS; e++) {
        a_minute(0, errors[e]);
        a_minute(FAKE_PWRITE, errors[e]);
        a_minute(FAKE_SYNC, errors[e]);
    }
}

/* With nothing else to write, the end of the trouble is noticed all the same. */
static void resumes_without_being_asked(void **state)
{
    (void)state;
    struct world *w = world_new(64 * 1024);
    fake_disk_fail_from(w->disk, fake_disk_steps(w->disk) + 1, -EROFS);
    size_t k = store(w);
    pump(w);
    pass(w, 1000);
    assert_int_equal(w->answers[k], -EROFS);
    assert_int_equal(core_accepting(w->core), -EROFS);
    fake_disk_fail_from(w->disk, 0, 0);
    struct wall wall;
    struct mono mono;
    core_deadline(w->core, &wall, &mono);
    assert_true(mono.ms <= w->mono.ms + 1000);
    pass(w, 1000);
    assert_int_equal(core_accepting(w->core), 0);
    assert_false(in_trouble(w));
    check_all(w);
    world_free(w);
}

/* What becomes of the second message in line when its content cannot be read, for a while. */
static void reads_that_fail(void **state)
{
    (void)state;
    static const int reading[] = {-EIO, -EMFILE};
    for (size_t e = 0; e < 2; e++) {
        struct world *w = world_new(64 * 1024);
        store(w);
        pump(w);
        uint64_t id = w->ids[0];
        result(w, &(struct verdict){.kind = VERDICT_DEFERRED,
                                    .code = 450}); /* content leaves memory */
        pass(w, 1000);
        fake_disk_count_reads(w->disk, true);
        fake_disk_fail_only(w->disk, FAKE_PREAD);
        fake_disk_fail_from(w->disk, 1, reading[e]);
        for (int i = 0; i < 10; i++)
            pass(w, 61000);
        assert_int_equal(w->attempts, 1);
        assert_true(w->deferred >= 9); /* the 450, and our own trouble again and again */
        assert_int_equal(spool_find(w->spool, id)->rcpts[0].attempts, 1); /* not the peer's fault */
        fake_disk_fail_from(w->disk, 0, 0);
        pass(w, 61000);
        assert_int_equal(w->attempts, 2);
        result(w, &delivered);
        pass(w, 1000);
        assert_int_equal(w->delivered, 1);
        assert_int_equal(w->bounced, 0);
        world_free(w);
    }
}

/* Rejections keep coming while the disk fails; memory does not grow with them for ever. */
static void notes_are_bounded(void **state)
{
    (void)state;
    struct world *w = world_new(64 * 1024);
    fake_disk_fail_from(w->disk, fake_disk_steps(w->disk) + 1, -EIO);
    store(w);
    pump(w);
    struct spool_report before, after;
    for (int i = 0; i < 3 * CORE_TROUBLE_NOTES_MAX; i++) {
        struct spooler_note *n = must_alloc(sizeof *n);
        n->msg.type = SPOOLER_NOTE;
        n->name = EVENT_REJECTED;
        core_message(w->core, &n->msg);
    }
    fake_disk_fail_from(w->disk, 0, 0);
    pass(w, 1000);
    core_free(w->core);
    spool_close(w->spool);
    w->spool = kit_open(w->disk, 64 * 1024, &before);
    assert_in_range(before.records, CORE_TROUBLE_NOTES_MAX, CORE_TROUBLE_NOTES_MAX + 5);
    spool_close(w->spool);
    w->spool = kit_open(w->disk, 64 * 1024, &after);
    assert_int_equal(after.damaged, 0); /* the empty record is a record */
    spool_close(w->spool);
    fake_disk_free(w->disk);
    free(w);
}

/* --- promise 6 */

/* The disk is filled from outside, to the last byte or inode: new mail is refused while there is
 * still room for the done-marks of all that is queued, and taken again when there is room. */
static void full_and_delivering(void **state)
{
    (void)state;
    for (int inodes = 0; inodes < 2; inodes++) {
        struct world *w = world_new(64 * 1024);
        size_t k = store(w);
        pump(w);
        assert_int_equal(w->answers[k], 0); /* the open segment is there, and nothing else */
        if (inodes)
            fake_disk_set_files(w->disk, 0);
        else
            fake_disk_set_room(w->disk, 0);
        while (w->answers[k] == 0) {
            k = store(w);
            pump(w);
        }
        assert_int_equal(w->answers[k], -ENOSPC);
        assert_int_equal(core_accepting(w->core), -ENOSPC);
        unsigned stored = w->accepted;
        assert_true(stored >= 20);
        for (unsigned i = 0; i < stored; i++) {
            result(w, &delivered);
            pass(w, 1000);
            assert_int_equal(w->delivered, i + 1);
            assert_false(in_trouble(w));
            assert_int_equal(core_accepting(w->core), -ENOSPC);
        }
        fake_disk_set_files(w->disk, -1);
        fake_disk_set_room(w->disk, -1);
        pass(w, 1000);
        assert_int_equal(core_accepting(w->core), 0);
        k = store(w);
        pump(w);
        assert_int_equal(w->answers[k], 0);
        check_all(w);
        world_free(w);
    }
}

/* A spare that cannot be opened because descriptors have run out is one still. */
static void spare_survives(void **state)
{
    (void)state;
    struct world *w = world_new(16 * 1024);
    size_t files = 0;
    while (files != 2) { /* the open segment and the spare */
        store(w);
        pump(w);
        files = fake_disk_count(w->disk, ".") - 3; /* lock, body, quarantine */
    }
    fake_disk_set_room(w->disk, 0);
    fake_disk_count_reads(w->disk, true);
    fake_disk_fail_only(w->disk, FAKE_OPEN | FAKE_PREAD);
    fake_disk_fail_from(w->disk, 1, -EMFILE);
    size_t k = 0;
    for (int i = 0; i < 30 && w->answers[k] == 0; i++) {
        k = store(w);
        pump(w);
    }
    assert_int_equal(w->answers[k], -EMFILE);
    fake_disk_fail_from(w->disk, 0, 0);
    pass(w, 1000);
    k = store(w);
    pass(w, 1000);
    assert_int_equal(w->answers[k], 0); /* there was no room for another file */
    fake_disk_set_room(w->disk, -1);
    check_all(w);
    world_free(w);
}

/* --- promise 33 */

/* The batch comes back too late: each asker hears 451 by his own clock, the message is ended by its
 * own record, told in the log, and never tried. */
static void told_in_time(void **state)
{
    (void)state;
    for (int fails = 0; fails < 2; fails++) {
        struct world *w = world_new(64 * 1024);
        w->hold = true;
        size_t first = store(w);
        pump(w);
        assert_non_null(w->held);
        pass(w, 20000);
        size_t second = store(w), patient = store_for(w, 0);
        struct wall wall;
        struct mono mono;
        core_deadline(w->core, &wall, &mono);
        assert_int_equal(mono.ms, 1000 + 30000);
        pass(w, 9999);
        assert_int_equal(w->answers[first], 1);
        pass(w, 1);
        assert_int_equal(w->answers[first], -ETIMEDOUT);
        assert_int_equal(w->answers[second], 1);
        assert_true(in_trouble(w)); /* out for half a minute */
        pass(w, 20000);
        assert_int_equal(w->answers[second], -ETIMEDOUT);
        assert_int_equal(w->answers[patient], 1);
        w->hold = false;
        if (fails)
            fake_disk_fail_at(w->disk, fake_disk_steps(w->disk) + 2, -EIO);
        assert_int_equal(batch_done(w, TAKE_PTR(w->held)), fails ? -EIO : 0);
        pass(w, 1000);
        assert_int_equal(w->answers[patient], 0);
        assert_int_equal(w->cancelled, fails ? 1 : 2); /* what was never stored is never told */
        assert_int_equal(w->accepted, w->cancelled + 1);
        check_all(w);
        world_free(w);
    }
}

/* A kill between the late sync and what ends it leaves both or the message alone; never half. */
static void told_in_time_and_killed(void **state)
{
    (void)state;
    struct world *w = world_new(64 * 1024);
    w->hold = true;
    store(w);
    pump(w);
    pass(w, 30000);
    assert_int_equal(w->answers[0], -ETIMEDOUT);
    w->hold = false;
    assert_int_equal(batch_done(w, TAKE_PTR(w->held)), 0);
    pass(w, 1000);
    struct fake_disk *killed = fake_disk_clone(w->disk);
    struct spool_report report;
    struct spool *s = kit_open(killed, 64 * 1024, &report);
    assert_int_equal(report.messages, 0);
    assert_int_equal(report.events, 2); /* accepted, cancelled */
    spool_close(s);
    fake_disk_free(killed);
    check_all(w);
    world_free(w);
}

/* A disk that does not answer is one in trouble: what was delivered now could not be marked. */
static void no_attempt_while_it_hangs(void **state)
{
    (void)state;
    struct world *w = world_new(64 * 1024);
    store(w);
    pump(w);
    struct verdict v = verdict_of_fault(FAULT_CONNECT_TIMEOUT, PHASE_CONNECT, SLICE_NONE);
    w->hold = true;
    result(w, &v);
    verdict_done(&v);
    pass(w, 1000);
    assert_non_null(w->held);
    for (int i = 0; i < 60; i++) /* due after one minute */
        pass(w, 10000);
    assert_true(in_trouble(w));
    assert_int_equal(w->attempts, 1);
    w->hold = false;
    assert_int_equal(batch_done(w, TAKE_PTR(w->held)), 0);
    pass(w, 1000);
    assert_int_equal(w->attempts, 2);
    result(w, &delivered);
    pass(w, 1000);
    assert_int_equal(w->delivered, 1);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_failure),
        cmocka_unit_test(for_a_minute),
        cmocka_unit_test(reads_that_fail),
        cmocka_unit_test(resumes_without_being_asked),
        cmocka_unit_test(notes_are_bounded),
        cmocka_unit_test(told_in_time),
        cmocka_unit_test(told_in_time_and_killed),
        cmocka_unit_test(full_and_delivering),
        cmocka_unit_test(spare_survives),
        cmocka_unit_test(no_attempt_while_it_hangs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
