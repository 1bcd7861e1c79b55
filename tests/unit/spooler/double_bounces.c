/* A report that cannot be delivered itself: told to a postmaster, once, or to nobody; never in a
 * circle (92). */
#include "tests/unit/spooler/world.h"

static void open_with(struct world *w, const char *double_bounces)
{
    w->double_bounces = double_bounces;
    close_world(w);
    open_world(w);
}

/* The way is known, and a connection there, from the second message on. */
static struct out_work *next_job(struct world *w)
{
    pump(w);
    struct core_action *a = seen(w, CORE_SEND, OUT_WORK);
    if (!a) {
        forget(w);
        return job_of(w);
    }
    struct out_work *job = (struct out_work *)(void *)a->msg;
    *a = w->seen[--w->n];
    forget(w);
    return job;
}

static struct out_dsn *fails(struct world *w)
{
    struct out_work *job = next_job(w);
    forget(w);
    result(w, job, &refused, true);
    pump(w);
    return dsn(w);
}

/* Stores a report as the outbound room does; the last word has NOTIFY=NEVER. */
static uint64_t store_report(struct world *w, const struct out_dsn *d)
{
    const struct envelope_rcpt rcpt = {.address = SLICE_LIT("one@a.test"),
                                       .notify = d->double_bounce ? MAIL_NOTIFY_NEVER : 0};
    const struct envelope e = {
        .message_id = SLICE_LIT("<r@x>"), .dsn_for = d->message_id, .rcpts = &rcpt, .n_rcpts = 1};
    return store_envelope(w, &e, d->serial);
}

/* A message and its report: both fail. */
static struct out_dsn *report_fails(struct world *w, uint64_t *ret_report)
{
    store(w, "a@x.test", 1, 0, 0);
    struct out_dsn *d = fails(w);
    assert_true(d && !d->double_bounce);
    assert_true(slice_eq(buf_slice(&d->to), SLICE_LIT("a@x.test")));
    *ret_report = store_report(w, d);
    forget(w);
    return fails(w);
}

static void once_and_never_again(void **state)
{
    struct world *w = *state;
    uint64_t report;
    open_with(w, "pm@x.test");
    struct out_dsn *d = report_fails(w, &report);
    assert_true(d && d->double_bounce && d->message_id == report && d->n == 1);
    assert_true(slice_eq(buf_slice(&d->to), SLICE_LIT("pm@x.test")));
    /* A crash before it is stored: it is made again. */
    forget(w);
    close_world(w);
    open_world(w);
    pump(w);
    d = dsn(w);
    assert_true(d && d->double_bounce && d->message_id == report);
    uint64_t last = store_report(w, d);
    forget(w);
    pump(w);
    assert_null(spool_find(w->spool, report));
    assert_int_equal(spool_find(w->spool, last)->rcpts[0].notify, MAIL_NOTIFY_NEVER);
    forget(w);
    /* That one fails, too: its end is in the log, and that is all, after a restart as well. */
    assert_null(fails(w));
    assert_int_equal(w->events[w->n_events - 1], EVENT_BOUNCED);
    assert_null(spool_find(w->spool, last));
    forget(w);
    close_world(w);
    open_world(w);
    pump(w);
    assert_null(dsn(w));
    forget(w);
}

static void nobody_is_told(void **state)
{
    struct world *w = *state;
    uint64_t report;
    assert_null(report_fails(w, &report)); /* by default */
    assert_null(spool_find(w->spool, report));
    forget(w);
    open_with(w, "pm@x.test");
    store(w, "", 1, 0, 0); /* a client's mail without a sender is no report of ours */
    assert_null(fails(w));
    forget(w);
}

/* Switched off while one waits: it does not wait for ever. */
static void switched_off_meanwhile(void **state)
{
    struct world *w = *state;
    uint64_t report;
    open_with(w, "pm@x.test");
    assert_non_null(report_fails(w, &report));
    forget(w);
    open_with(w, NULL);
    pump(w);
    assert_null(dsn(w));
    pump(w);
    assert_null(spool_find(w->spool, report));
    forget(w);
}

/* 28: whoever forges senders does not bury the postmaster. */
static void they_are_limited(void **state)
{
    struct world *w = *state;
    uint64_t report;
    open_with(w, "pm@x.test");
    struct spooler_control *c = must_alloc(sizeof *c);
    c->what = SPOOLER_RECONFIGURE;
    c->retry = (struct retry_policy){.pause_s = {60}, .n = 1};
    c->lifetime_s = 86400;
    c->report_policy = (struct report_policy){
        .per_sender = {2, 3600000}, .per_user = {1000, 1000}, .double_bounces = "pm@x.test"};
    give(w, c, SPOOLER_CONTROL);
    pump(w);
    forget(w);
    size_t n = 0;
    for (int i = 0; i < 2; i++) {
        struct out_dsn *d = report_fails(w, &report);
        n += d != NULL;
        if (d)
            store_report(w, d);
        forget(w);
        assert_null(fails(w)); /* the last word */
        forget(w);
    }
    assert_int_equal(n, 2);
    store(w, "b@x.test", 1, 0, 0);
    struct out_dsn *d = fails(w);
    assert_non_null(d); /* another sender */
    store_report(w, d);
    forget(w);
    assert_null(fails(w)); /* the postmaster has had two */
    forget(w);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(once_and_never_again), TEST(nobody_is_told),
                                       TEST(switched_off_meanwhile), TEST(they_are_limited)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
