/* A message for another host, and one from there. If this breaks, a moved queue loses recipients,
 * sends to one who has had it, or mail that was to be held goes out. */
#include "tests/unit/spooler/world.h"

static struct spooler_export *step(struct world *w, struct spooler_export *x)
{
    x->after = x->next;
    give(w, x, SPOOLER_EXPORT);
    pump_now(w);
    struct core_action *a = seen(w, CORE_ANSWER, SPOOLER_EXPORT);
    assert_non_null(a);
    assert_ptr_equal(a->msg, x);
    *a = w->seen[--w->n];
    forget(w);
    return x;
}

static bool is(const struct buf *b, const char *text)
{
    return slice_eq(buf_slice(b), slice_str(text));
}

static void what_is_left(void **state)
{
    struct world *w = *state;
    const struct verdict half[] = {delivered, deferred};
    uint64_t first = store(w, "a@x.test", 2, 0, 0);
    result(w, job_of(w), half, true);
    pump(w);
    forget(w);
    uint64_t second = store(w, "", 1, 0, 0);
    pump(w);
    forget(w);
    struct spooler_export *x = step(w, must_alloc(sizeof *x));
    assert_int_equal(x->id, first);
    assert_true(is(&x->sender, "a@x.test") && is(&x->message_id, "<m@x>"));
    assert_int_equal(x->size, 5);
    assert_int_equal(x->n_rcpts, 1); /* the other one has it */
    assert_true(is(&x->rcpts[0].address, "two@a.test"));
    assert_int_equal(x->rcpts[0].rcpt, 1);
    assert_int_equal(x->rcpts[0].attempts, 1);
    assert_int_equal(x->rcpts[0].code, 450);
    assert_true(x->rcpts[0].last_attempt.us && x->rcpts[0].due.us > w->now.us);
    assert_int_equal(x->expires.us - x->queued.us, 86400 * WALL_SECOND);
    step(w, x);
    assert_int_equal(x->id, second);
    assert_int_equal(x->sender.n, 0);
    assert_int_equal(x->n_rcpts, 1);
    step(w, x);
    assert_int_equal(x->id, 0);
    assert_int_equal(x->next, 0);
    spooler_export_free(x);
}

static void filters_and_long_ways(void **state)
{
    struct world *w = *state;
    uint64_t ids[1500];
    for (size_t i = 0; i < 1500; i++) {
        ids[i] = store(w, i == 1400 ? "b@x.test" : "a@x.test", 2, 0, 0);
        pump_now(w);
        forget(w);
        w->n_events = 0; /* the world has room for few */
    }
    struct spooler_export *x = must_alloc(sizeof *x);
    x->filter.from = buf_of(SLICE_LIT("b@*"));
    x->filter.to = buf_of(SLICE_LIT("two@*"));
    unsigned steps = 1;
    while (step(w, x)->id == 0 && x->next)
        steps++;
    assert_true(steps > 5 && steps < 10); /* each is bounded */
    assert_int_equal(x->id, ids[1400]);
    assert_int_equal(x->n_rcpts, 1);
    step(w, x);
    assert_true(x->id == 0 && x->next == 0);
    spooler_export_free(x);
    x = must_alloc(sizeof *x);
    x->filter.ids = must_alloc(3 * sizeof *x->filter.ids);
    x->filter.n_ids = 3;
    x->filter.ids[0] = ids[7], x->filter.ids[1] = ids[3], x->filter.ids[2] = 12345;
    assert_int_equal(step(w, x)->id, ids[3]);
    assert_int_equal(step(w, x)->id, ids[7]);
    assert_int_equal(step(w, x)->id, 0);
    spooler_export_free(x);
}

/* Its client may still be told 451: then it must be nowhere else. */
static void not_before_it_is_durable(void **state)
{
    struct world *w = *state;
    w->hold = true;
    uint64_t id = store(w, "a@x.test", 1, 0, 0);
    pump(w);
    struct spooler_export *x = step(w, must_alloc(sizeof *x));
    assert_int_equal(x->id, 0);
    w->hold = false;
    batch_done(w, w->held);
    pump(w);
    forget(w);
    assert_int_equal(step(w, x)->id, id);
    spooler_export_free(x);
}

static struct spooler_store *store_held(struct world *w)
{
    struct spooler_store *q = must_alloc(sizeof *q);
    q->id = w->last_id = queue_id_next(w->last_id, w->now);
    q->envelope =
        (struct envelope){.sender = SLICE_LIT("a@x.test"), .size = 5, .rcpts = rcpts, .n_rcpts = 2};
    q->body = body_new(5);
    memcpy(q->body->bytes, "abc\r\n", 5);
    q->held = true;
    q->actor = SLICE_LIT("root");
    q->asked = w->mono;
    q->patience_ms = 30000;
    give(w, q, SPOOLER_STORE);
    return q;
}

static struct spooler_admin *ask(struct world *w, enum admin_verb verb)
{
    struct spooler_admin *a = must_alloc(sizeof *a);
    a->verb = verb;
    a->rows_max = UINT64_MAX;
    a->actor = buf_of(SLICE_LIT("root"));
    give(w, a, SPOOLER_ADMIN);
    pump(w);
    assert_ptr_equal(seen(w, CORE_ANSWER, SPOOLER_ADMIN)->msg, a);
    return a;
}

static void held_from_the_beginning(void **state)
{
    struct world *w = *state;
    struct spooler_store *q = store_held(w);
    uint64_t id = q->id;
    pump(w);
    assert_int_equal(q->error, 0);
    assert_ptr_equal(seen(w, CORE_ANSWER, SPOOLER_STORE)->msg, &q->msg);
    assert_null(seen(w, CORE_SEND, OUT_RESOLVE));
    forget(w);
    const enum event_name told[] = {EVENT_ACCEPTED, EVENT_ACCEPTED, EVENT_HELD, EVENT_HELD};
    assert_int_equal(w->n_events, 4);
    assert_memory_equal(w->events, told, sizeof told);
    assert_null(spool_find(w->spool, id)->body); /* it may lie for days */
    assert_int_equal(ask(w, ADMIN_STATUS)->totals.held, 2);
    forget(w);
    close_world(w);
    open_world(w);
    assert_int_equal(ask(w, ADMIN_STATUS)->totals.held, 2);
    forget(w);
    assert_int_equal(ask(w, ADMIN_RELEASE)->changed, 2);
    assert_non_null(seen(w, CORE_SEND, OUT_RESOLVE));
    forget(w);
}

/* Withdrawn for a slow disk: it is nowhere, and nothing is counted as held. */
static void held_and_too_late(void **state)
{
    struct world *w = *state;
    w->hold = true;
    struct spooler_store *q = store_held(w);
    uint64_t id = q->id;
    pump(w);
    pass(w, 31000);
    pump(w);
    assert_ptr_equal(seen(w, CORE_ANSWER, SPOOLER_STORE)->msg, &q->msg);
    assert_int_equal(q->error, -ETIMEDOUT);
    forget(w);
    w->hold = false;
    batch_done(w, w->held);
    pump(w);
    forget(w);
    assert_null(spool_find(w->spool, id));
    assert_int_equal(ask(w, ADMIN_STATUS)->totals.held, 0);
    forget(w);
}

/* An operator's word reaches mail whose sync is still out: it is not there for him, and goes on. */
static void operators_before_the_sync(void **state)
{
    struct world *w = *state;
    static const enum admin_verb verbs[] = {ADMIN_HOLD, ADMIN_RELEASE, ADMIN_REMOVE, ADMIN_RETRY};
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        w->hold = true;
        store(w, "a@x.test", 1, 0, 0);
        pump(w);
        struct spooler_admin *a = ask(w, verbs[i]);
        assert_int_equal(a->matched, 0);
        forget(w);
        w->hold = false;
        batch_done(w, w->held);
        pump(w);
        forget(w);
        a = ask(w, ADMIN_LIST);
        assert_int_equal(a->n_rows, 1);
        assert_int_equal(a->rows[0].state, RCPT_QUEUED);
        forget(w);
        assert_int_equal(ask(w, ADMIN_REMOVE)->changed, 1);
        forget(w);
    }
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_is_left),
        TEST(filters_and_long_ways),
        TEST(not_before_it_is_durable),
        TEST(held_from_the_beginning),
        TEST(held_and_too_late),
        TEST(operators_before_the_sync),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
