/* 28, 93: when a sender is told. If this breaks, ten bad addresses in one mail fill his mailbox
 * with ten reports, or one user's failures bury everybody. */
#include "relay/spooler/core_int.h"
#include "tests/unit/spooler/world.h"

/* A message to two at one place, and the job that carries both. */
static struct out_work *two_go(struct world *w, uint64_t *ret_id)
{
    *ret_id = store(w, "a@x.test", 2, 0, 0);
    struct out_work *job = job_of(w);
    assert_int_equal(job->n, 2);
    return job;
}

/* The one that had no verdict is tried again at once. */
static struct out_work *other_goes(struct world *w)
{
    pump(w);
    struct core_action *a = seen(w, CORE_SEND, OUT_WORK);
    assert_non_null(a);
    assert_null(dsn(w)); /* he may fail, too */
    struct out_work *job = (struct out_work *)(void *)a->msg;
    *a = w->seen[--w->n];
    assert_int_equal(job->n, 1);
    forget(w);
    return job;
}

/* 93: one report for both, when the other one's first attempt is over. */
static void waits_for_the_first_attempts(void **state)
{
    struct world *w = *state;
    uint64_t id;
    const struct verdict first[] = {refused, {0}};
    struct out_work *job = two_go(w, &id);
    result(w, job, first, true);
    job = other_goes(w);
    pass(w, CORE_DSN_PATIENCE_MS - 1000);
    pump(w);
    assert_null(dsn(w));
    forget(w);
    result(w, job, &refused, true);
    pass(w, 1000);
    pump(w);
    assert_true(dsn(w) && dsn(w)->n == 2);
    forget(w);
}

/* … and no longer than five minutes: one slow receiver keeps no one waiting. */
static void but_not_for_ever(void **state)
{
    struct world *w = *state;
    uint64_t id;
    const struct verdict first[] = {refused, {0}};
    struct out_work *job = two_go(w, &id);
    result(w, job, first, true);
    job = other_goes(w);
    pass(w, CORE_DSN_PATIENCE_MS + 31000);
    pump(w);
    assert_true(dsn(w) && dsn(w)->n == 1 && dsn(w)->rcpts[0].number == 0);
    forget(w);
    out_work_free(job);
}

static int report_comes(struct world *w, uint64_t about, uint64_t serial)
{
    forget(w);
    store(w, "", 1, about, serial);
    pump(w);
    struct core_action *answer = seen(w, CORE_ANSWER, SPOOLER_STORE);
    assert_non_null(answer);
    return ((struct spooler_store *)(void *)answer->msg)->error;
}

/* One that was believed to be lost and made again is stored once. */
static void a_late_report_is_not_taken_for_its_successor(void **state)
{
    struct world *w = *state;
    uint64_t id;
    const struct verdict both[] = {refused, refused};
    result(w, two_go(w, &id), both, true);
    pump(w);
    const uint64_t lost = dsn(w)->serial;
    forget(w);
    pass(w, CORE_DSN_AGAIN_MS + 1000);
    pump(w);
    const uint64_t again = dsn(w)->serial;
    assert_true(again != lost);
    assert_int_equal(report_comes(w, id, lost), -ESTALE);
    assert_int_equal(report_comes(w, id, again), 0);
    assert_null(spool_find(w->spool, id));
    forget(w);
}

/* Beside others that were not stored and are handed out again. */
static bool is_out(const struct world *w, const char *to)
{
    bool found = false;
    for (size_t i = 0; i < w->n; i++) {
        const struct core_action *a = &w->seen[i];
        const struct out_dsn *d = (struct out_dsn *)(void *)a->msg;
        found = found || (a->act == CORE_SEND && a->msg->type == OUT_DSN &&
                          slice_eq(buf_slice(&d->to), slice_str(to)));
    }
    return found;
}

static void one_fails(struct world *w, const char *sender, bool told_at_once)
{
    static const struct envelope_rcpt one = {.address = {(const uint8_t *)"one@a.test", 10}};
    const struct envelope e = {.sender = slice_str(sender),
                               .user = SLICE_LIT("app"),
                               .message_id = SLICE_LIT("<m@x>"),
                               .rcpts = &one,
                               .n_rcpts = 1};
    store_envelope(w, &e, 0);
    pump(w);
    if (seen(w, CORE_SEND, OUT_RESOLVE)) {
        forget(w);
        plan(w, "a.test");
        pump(w);
    }
    struct core_action *a = seen(w, CORE_SEND, OUT_WORK);
    assert_non_null(a);
    struct out_work *job = (struct out_work *)(void *)a->msg;
    *a = w->seen[--w->n];
    forget(w);
    result(w, job, &refused, true);
    pump(w);
    assert_int_equal(is_out(w, sender), told_at_once);
    forget(w);
}

/* 28: by user, whatever senders he names, and by sender, whoever names him; who waits has his
 * report when his turn comes. */
static void turns_of_users_and_senders(void **state)
{
    struct world *w = *state;
    w->core->report_policy.per_user = (struct limit_rate){.n = 2, .per_ms = 3600000};
    one_fails(w, "a@x.test", true);
    one_fails(w, "b@x.test", true);
    one_fails(w, "c@x.test", false);
    pass(w, 1700 * 1000);
    pump(w);
    assert_false(is_out(w, "c@x.test"));
    forget(w);
    pass(w, 101 * 1000);
    pump(w);
    assert_true(is_out(w, "c@x.test"));
    forget(w);
    w->core->report_policy = (struct report_policy){.per_sender = {.n = 1, .per_ms = 3600000}};
    one_fails(w, "d@x.test", true);
    one_fails(w, "d@x.test", false);
    one_fails(w, "e@x.test", true);
}

/* 28: whose turn would come in more than a day is told nothing, and does not stay in the queue. */
static void what_would_wait_for_days_is_over(void **state)
{
    struct world *w = *state;
    w->core->report_policy.per_sender = (struct limit_rate){.n = 1, .per_ms = 20 * 3600 * 1000};
    one_fails(w, "a@x.test", true);
    one_fails(w, "a@x.test", false);
    const uint64_t waits = w->last_id;
    one_fails(w, "a@x.test", false);
    const uint64_t dropped = w->last_id;
    pump(w);
    forget(w);
    assert_non_null(spool_find(w->spool, waits));
    assert_null(spool_find(w->spool, dropped));
}

static ssize_t (*good_pread)(void *ctx, int fd, void *p, size_t n, uint64_t at);
static int reading_says;

static ssize_t bad_pread(void *ctx, int fd, void *p, size_t n, uint64_t at)
{
    return reading_says < 0 ? reading_says : good_pread(ctx, fd, p, n, at);
}

/* 28, 96: trouble with reading the original delays its report, and costs nothing of it; what is
 * lost for good keeps no failure from being told. */
static void an_original_that_cannot_be_read(void **state)
{
    static const struct {
        int error;
        bool passes;
    } rows[] = {{-EIO, true}, {-EMFILE, true}, {-EBADMSG, false}, {-ENOENT, false}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct verdict both[] = {refused, refused};
        void *made;
        uint64_t id;
        setup(&made);
        struct world *w = made;
        good_pread = w->fs->pread;
        w->fs->pread = bad_pread;
        result(w, two_go(w, &id), both, true); /* content leaves memory */
        reading_says = rows[i].error;
        for (int again = 0; again < 5 && rows[i].passes; again++) {
            pump(w);
            assert_null(dsn(w));
            forget(w);
            pass(w, CORE_DSN_AGAIN_MS);
        }
        reading_says = rows[i].passes ? 0 : reading_says;
        pump(w);
        assert_true(dsn(w) && dsn(w)->n == 2 && dsn(w)->original);
        assert_int_equal(dsn(w)->original->n, rows[i].passes ? 5 : 0);
        assert_int_equal(dsn(w)->original_whole, rows[i].passes);
        assert_int_equal(report_comes(w, id, dsn(w)->serial), 0);
        assert_null(spool_find(w->spool, id));
        forget(w);
        reading_says = 0;
        teardown(&made);
    }
}

/* Of large content only so much is read for its report as that may have, not fifty megabytes. */
static void a_large_original(void **state)
{
    enum { SIZE = 1 << 20 };
    static uint8_t bytes[SIZE];
    struct world *w = *state;
    struct spool_body_file *f;
    struct spooler_store *q = must_alloc(sizeof *q);
    q->id = w->last_id = queue_id_next(w->last_id, w->now);
    q->envelope = (struct envelope){
        .sender = SLICE_LIT("a@x.test"), .size = SIZE, .rcpts = rcpts, .n_rcpts = 1};
    memset(bytes, 'x', SIZE);
    assert_int_equal(spool_body_create(w->fs, q->id, &f), 0);
    assert_int_equal(spool_body_write(f, slice_of(bytes, SIZE)), 0);
    assert_int_equal(spool_body_finish(f), 0);
    give(w, q, SPOOLER_STORE);
    result(w, job_of(w), &refused, true);
    pump(w);
    assert_true(dsn(w) && !dsn(w)->original_whole);
    assert_int_equal(dsn(w)->original->n, SPOOL_INLINE_MAX);
    forget(w);
}

static int bad_sync(void *ctx, int fd)
{
    (void)ctx, (void)fd;
    return -EIO;
}

/* 28: a report whose store fails late, when it had been believed to be stored, is made again. */
static void a_report_that_is_not_stored_after_all(void **state)
{
    struct world *w = *state;
    struct err e = {0};
    uint64_t id;
    const struct verdict both[] = {refused, refused};
    result(w, two_go(w, &id), both, true);
    pump(w);
    const uint64_t serial = dsn(w)->serial;
    forget(w);
    pass(w, CORE_DSN_AGAIN_MS - 100);
    w->hold = true;
    store(w, "", 1, id, serial);
    pump(w);
    assert_non_null(w->held);
    forget(w);
    pass(w, 1000); /* nothing is due as long as that is on its way */
    pump(w);
    assert_null(dsn(w));
    forget(w);
    int (*good_sync)(void *ctx, int fd) = w->fs->fdatasync;
    w->fs->fdatasync = bad_sync;
    assert_int_equal(core_batch_run(w->held, NULL, NULL), -EIO);
    w->fs->fdatasync = good_sync;
    assert_int_equal(core_batch_done(w->core, w->held, &e), -EIO);
    assert_int_equal(core_accepting(w->core), 0); /* once is no trouble: it is tried again */
    w->held = NULL;
    w->hold = false;
    for (int i = 0; i < 5 && !dsn(w); i++) {
        forget(w);
        pass(w, 1000);
        pump(w);
    }
    assert_true(dsn(w) && dsn(w)->n == 2);
    assert_int_equal(report_comes(w, id, dsn(w)->serial), 0);
    assert_null(spool_find(w->spool, id));
    forget(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_original_that_cannot_be_read),
        cmocka_unit_test_setup_teardown(a_large_original, setup, teardown),
        cmocka_unit_test_setup_teardown(a_report_that_is_not_stored_after_all, setup, teardown),
        cmocka_unit_test_setup_teardown(waits_for_the_first_attempts, setup, teardown),
        cmocka_unit_test_setup_teardown(but_not_for_ever, setup, teardown),
        cmocka_unit_test_setup_teardown(a_late_report_is_not_taken_for_its_successor, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(turns_of_users_and_senders, setup, teardown),
        cmocka_unit_test_setup_teardown(what_would_wait_for_days_is_over, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
