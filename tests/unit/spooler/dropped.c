/* Recipients on the suppression list: accepted, ended as `suppressed` by a record right behind
 * their message, never tried, told once; whatever happens to the batch or to the asker. */
#include "tests/unit/spooler/world.h"

static const struct spooler_dropped some[] = {
    {.rcpt = 0, .reason = {(const uint8_t *)"first", 5}},
    {.rcpt = 1, .reason = {(const uint8_t *)"second", 6}}};

static uint64_t store_dropping(struct world *w, size_t from, size_t n, int64_t patience_ms)
{
    struct spooler_store *q = must_alloc(sizeof *q);
    q->id = w->last_id = queue_id_next(w->last_id, w->now);
    q->envelope = (struct envelope){.sender = SLICE_LIT("s@a.test"),
                                    .message_id = SLICE_LIT("<m@x>"),
                                    .size = 5,
                                    .rcpts = rcpts,
                                    .n_rcpts = 2};
    q->dropped = some + from;
    q->n_dropped = n;
    q->asked = w->mono;
    q->patience_ms = patience_ms;
    q->body = body_new(5);
    memcpy(q->body->bytes, "abc\r\n", 5);
    uint64_t id = q->id;
    give(w, q, SPOOLER_STORE);
    return id;
}

static size_t count(const struct world *w, enum event_name name)
{
    size_t n = 0;
    for (size_t i = 0; i < w->n_events; i++)
        n += w->events[i] == name;
    return n;
}

/* 11: one terminal event each; the other recipient goes its way, and only that one. */
static void one_of_two(void **state)
{
    struct world *w = *state;
    uint64_t id = store_dropping(w, 0, 1, 0);
    struct out_work *job = job_of(w);
    assert_int_equal(job->n, 1);
    assert_int_equal(job->rcpts[0], 1);
    assert_int_equal(count(w, EVENT_ACCEPTED), 2);
    assert_int_equal(count(w, EVENT_SUPPRESSED), 1);
    result(w, job, &delivered, true);
    pump(w);
    forget(w);
    assert_null(spool_find(w->spool, id));
    assert_int_equal(count(w, EVENT_DELIVERED), 1);
    assert_int_equal(count(w, EVENT_SUPPRESSED), 1);
}

static void all_of_them(void **state)
{
    struct world *w = *state;
    uint64_t id = store_dropping(w, 0, 2, 30000);
    pump(w);
    struct core_action *a = seen(w, CORE_ANSWER, SPOOLER_STORE);
    assert_non_null(a);
    assert_int_equal(((struct spooler_store *)(void *)a->msg)->error, 0);
    assert_null(seen(w, CORE_SEND, OUT_RESOLVE));
    forget(w);
    assert_null(spool_find(w->spool, id));
    assert_int_equal(count(w, EVENT_ACCEPTED), 2);
    assert_int_equal(count(w, EVENT_SUPPRESSED), 2);
    assert_int_equal(w->n_events, 4);
    close_world(w); /* and it is no different after a restart */
    open_world(w);
    assert_null(spool_find(w->spool, id));
}

/* The asker gave up: what was dropped is not cancelled a second time. */
static void withdrawn(void **state)
{
    struct world *w = *state;
    for (size_t n = 1; n <= 2; n++) {
        w->n_events = 0;
        w->hold = true;
        store(w, "s@a.test", 1, 0, 0); /* its batch is out */
        pump(w);
        assert_non_null(w->held);
        uint64_t id = store_dropping(w, 2 - n, n, 1000);
        pass(w, 1000);
        pump(w);
        struct core_action *a = seen(w, CORE_ANSWER, SPOOLER_STORE);
        assert_non_null(a);
        assert_int_equal(((struct spooler_store *)(void *)a->msg)->error, -ETIMEDOUT);
        forget(w);
        w->hold = false;
        batch_done(w, w->held);
        pump(w);
        forget(w);
        assert_null(spool_find(w->spool, id));
        assert_int_equal(count(w, EVENT_SUPPRESSED), n);
        assert_int_equal(count(w, EVENT_CANCELLED), 2 - n);
        assert_int_equal(count(w, EVENT_ACCEPTED), 3);
    }
}

/* Later mail, queued before the restart, comes back without what was dropped of it. */
static void after_a_restart(void **state)
{
    struct world *w = *state;
    uint64_t id = store_dropping(w, 1, 1, 0);
    pump(w);
    forget(w);
    close_world(w);
    open_world(w);
    const struct message *m = spool_find(w->spool, id);
    assert_non_null(m);
    assert_int_equal(m->rcpts[0].state, RCPT_QUEUED);
    assert_int_equal(m->rcpts[1].state, RCPT_CANCELLED);
    assert_int_equal(m->n_left, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_of_two, setup, teardown),
        cmocka_unit_test_setup_teardown(all_of_them, setup, teardown),
        cmocka_unit_test_setup_teardown(withdrawn, setup, teardown),
        cmocka_unit_test_setup_teardown(after_a_restart, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
