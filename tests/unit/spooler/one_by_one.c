/* 28, 92, 93: failures of one message that are told each alone (VERP), and reports on many
 * messages. If this breaks, a list with thousands of dead members keeps the spooler busy for
 * minutes, a member is told of twice or never, or who fails once waits behind who fails often. */
#include "relay/spooler/core_int.h"
#include "tests/unit/spooler/world.h"

enum { MANY = 20000 };

static void no_event(void *ctx, const struct event *e)
{
    (void)ctx;
    (void)e;
}

static int setup_quiet(void **state)
{
    setup(state);
    struct world *w = *state;
    core_set_events(w->core, no_event, NULL);
    return 0;
}

/* A message to n recipients at one place. */
static uint64_t store_many(struct world *w, uint32_t n)
{
    struct envelope_rcpt *to = must_alloc(n * sizeof *to);
    char(*names)[24] = must_alloc(n * sizeof *names);
    for (uint32_t i = 0; i < n; i++) {
        snprintf(names[i], sizeof names[i], "r%u@a.test", i);
        to[i].address = slice_str(names[i]);
    }
    const struct envelope e = {.sender = SLICE_LIT("list@x.test"),
                               .message_id = SLICE_LIT("<m@x>"),
                               .rcpts = to,
                               .n_rcpts = n};
    uint64_t id = store_envelope(w, &e, 0);
    free(to);
    free(names);
    return id;
}

/* All that is with a connection ends as `ends` says for its number. What is seen beside that stays.
 */
static void end_jobs(struct world *w, const struct verdict *(*ends)(uint32_t rcpt))
{
    struct core_action *a;
    while ((a = seen(w, CORE_SEND, OUT_WORK))) {
        struct out_work *job = (struct out_work *)(void *)a->msg;
        struct spooler_conn_gone *gone = must_alloc(sizeof *gone);
        struct verdict v[100];
        gone->conn = job->conn;
        *a = w->seen[--w->n];
        assert_true(job->n <= sizeof v / sizeof *v);
        for (size_t i = 0; i < job->n; i++)
            v[i] = *ends(job->rcpts[i]);
        result(w, job, v, false);
        give(w, gone, SPOOLER_CONN_GONE);
    }
}

/* Until nothing is asked for any more but reports. */
static void deliver(struct world *w, const struct verdict *(*ends)(uint32_t rcpt))
{
    for (;;) {
        forget(w);
        pump(w);
        if (seen(w, CORE_SEND, OUT_RESOLVE)) {
            forget(w);
            plan(w, "a.test");
        } else if (seen(w, CORE_SEND, OUT_WORK)) {
            end_jobs(w, ends);
        } else {
            break;
        }
    }
}

static const struct verdict *all_fail(uint32_t rcpt)
{
    (void)rcpt;
    return &refused;
}

static const struct verdict *odd_ones_wait(uint32_t rcpt)
{
    return rcpt % 2 ? &deferred : &refused;
}

/* A report on one recipient (counted from 1; 0: on all) comes to be stored. */
static int tell(struct world *w, uint64_t about, uint64_t rcpt, uint64_t serial)
{
    const struct envelope e = {.message_id = SLICE_LIT("<r@x>"),
                               .dsn_for = about,
                               .dsn_rcpt = rcpt,
                               .rcpts = rcpts,
                               .n_rcpts = 1};
    forget(w);
    store_envelope(w, &e, serial);
    pump_now(w);
    struct core_action *answer = seen(w, CORE_ANSWER, SPOOLER_STORE);
    assert_non_null(answer);
    return ((struct spooler_store *)(void *)answer->msg)->error;
}

/* The first time all that failed are looked at; each further report costs a constant. */
static void the_work_is_linear(void **state)
{
    enum { TOLD = 1000 };
    struct world *w = *state;
    uint64_t id = store_many(w, MANY);
    deliver(w, all_fail);
    pass(w, MANY); /* longer than a walk may have to wait */
    pump_now(w);
    const uint64_t first = w->core->bounce_looks;
    assert_true(first <= 3 * MANY);
    for (uint32_t i = 0; i < TOLD; i++) {
        const struct out_dsn *d = dsn(w);
        assert_non_null(d);
        assert_int_equal(d->n, i == 0 ? MANY : 1);
        assert_int_equal(d->one_by_one, i > 0);
        assert_int_equal(d->rcpts[0].number, i);
        assert_int_equal(d->rcpts[0].what, OUT_DSN_FAILED);
        assert_int_equal(tell(w, id, i + 1, d->serial), 0);
    }
    assert_true(w->core->bounce_looks - first <= 4 * TOLD);
    forget(w);
}

/* Nobody twice and nobody forgotten: through a restart, and what fails in front of those that are
 * told already. Who is late is told to the sender as he is. */
static void each_is_told_once(void **state)
{
    enum { N = 40 };
    struct world *w = *state;
    unsigned told[N] = {0}, late = 0;
    w->delay_warning_s = 10;
    close_world(w);
    open_world(w);
    core_set_events(w->core, no_event, NULL);
    uint64_t id = store_many(w, N);
    deliver(w, odd_ones_wait);
    forget(w);
    for (unsigned round = 0; round < 4; round++) {
        for (int i = 0; i < 200 && spool_find(w->spool, id); i++) {
            const struct out_dsn *d = dsn(w);
            if (!d) {
                pass(w, 1000);
                deliver(w, round < 2 ? odd_ones_wait : all_fail);
                continue;
            }
            const struct out_dsn_rcpt *r = &d->rcpts[0];
            if (r->what == OUT_DSN_DELAYED) {
                for (size_t k = 0; k < d->n; k++)
                    assert_int_equal(d->rcpts[k].what, OUT_DSN_DELAYED);
                assert_int_equal(tell(w, id, 0, d->serial), 0);
                late++;
                continue;
            }
            const uint32_t number = r->number;
            assert_true(number < N);
            /* One that is not the recipient asked about marks nothing. */
            if (d->one_by_one)
                assert_int_equal(tell(w, id, (number + 1) % N + 1, d->serial), -ESTALE);
            const uint64_t serial = w->core->last_serial;
            told[number]++;
            assert_int_equal(tell(w, id, number + 1, serial), 0);
            if (i % 7 == 3)
                break;
        }
        forget(w);
        close_world(w);
        open_world(w);
        core_set_events(w->core, no_event, NULL);
        pass(w, 61000);
        deliver(w, round < 1 ? odd_ones_wait : all_fail);
    }
    for (int i = 0; i < 400 && spool_find(w->spool, id); i++) {
        const struct out_dsn *d = dsn(w);
        if (!d) {
            pass(w, 1000);
            deliver(w, all_fail);
        } else {
            told[d->rcpts[0].number]++;
            assert_int_equal(tell(w, id, d->rcpts[0].number + 1, d->serial), 0);
        }
    }
    forget(w);
    assert_null(spool_find(w->spool, id));
    assert_true(late <= 1);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(told[i], 1);
}

/* The way out tells all at once after a reload: what is left comes together. */
static void from_one_by_one_to_all_at_once(void **state)
{
    struct world *w = *state;
    uint64_t id = store_many(w, 5);
    deliver(w, all_fail);
    assert_int_equal(dsn(w)->n, 5);
    assert_int_equal(tell(w, id, 1, dsn(w)->serial), 0);
    assert_true(dsn(w) && dsn(w)->one_by_one && dsn(w)->rcpts[0].number == 1);
    /* A report on all is none on what was handed out. */
    const uint64_t serial = dsn(w)->serial;
    assert_int_equal(tell(w, id, 0, serial), -ESTALE);
    assert_int_equal(tell(w, id, 2, serial), 0);
    forget(w);
    close_world(w);
    open_world(w);
    core_set_events(w->core, no_event, NULL);
    pump(w);
    assert_int_equal(dsn(w)->n, 3);
    assert_int_equal(tell(w, id, 0, dsn(w)->serial), 0);
    assert_null(spool_find(w->spool, id));
    forget(w);
}

/* Its results come one after the other: it is not gone through for each. */
static void results_that_trickle_in(void **state)
{
    enum { RESULTS = 100 };
    struct world *w = *state;
    uint64_t id = store_many(w, MANY);
    deliver(w, odd_ones_wait);
    pass(w, MANY);
    pump_now(w);
    assert_int_equal(tell(w, id, 0, dsn(w)->serial), 0);
    forget(w);
    const uint64_t before = w->core->bounce_looks;
    const int64_t begun = w->mono.ms;
    for (int i = 0; i < RESULTS; i++) {
        bounce_wanted(w->core, id);
        pass(w, 20);
        pump_now(w);
        forget(w);
    }
    /* A walk looks at each twice at most, and there is one more than the time has room for. */
    const uint64_t walks = (uint64_t)(w->mono.ms - begun) * 16 / MANY + 1;
    assert_true(w->core->bounce_looks - before <= 2 * walks * MANY);
}

/* The reports that were handed out, in their order; they are not seen any more. */
static size_t take_reports(struct world *w, uint64_t (*ret)[2])
{
    size_t n = 0;
    for (struct core_action *a; (a = seen(w, CORE_SEND, OUT_DSN)); n++) {
        const struct out_dsn *d = (struct out_dsn *)(void *)a->msg;
        ret[n][0] = d->message_id;
        ret[n][1] = d->serial;
        spooler_order_free(a->msg);
        memmove(a, a + 1, (size_t)(w->seen + w->n - (a + 1)) * sizeof *a);
        w->n--;
    }
    return n;
}

/* More failed messages than reports may be out: as soon as one is stored the next one's turn has
 * come, whatever the clock says, and nobody overtakes. */
static void who_has_no_room_stands_in_line(void **state)
{
    enum { MESSAGES = 3 * CORE_DSN_OUT_MAX / 2 };
    struct world *w = *state;
    uint64_t ids[MESSAGES], out[MESSAGES][2];
    size_t n = 0;
    for (size_t i = 0; i < MESSAGES; i++) {
        ids[i] = store_many(w, 1);
        pump_now(w);
        const bool asked = seen(w, CORE_SEND, OUT_RESOLVE) != NULL;
        n += take_reports(w, out + n);
        if (asked) {
            forget(w);
            plan(w, "a.test");
            pump_now(w);
        }
        end_jobs(w, all_fail);
        forget(w);
    }
    pump_now(w);
    n += take_reports(w, out + n);
    forget(w);
    assert_int_equal(n, CORE_DSN_OUT_MAX);
    for (size_t i = 0; i < MESSAGES; i++) {
        assert_true(i < n && out[i][0] == ids[i]);
        assert_int_equal(tell(w, ids[i], 0, out[i][1]), 0);
        n += take_reports(w, out + n);
        assert_int_equal(n,
                         i + 1 + CORE_DSN_OUT_MAX < MESSAGES ? i + 1 + CORE_DSN_OUT_MAX : MESSAGES);
    }
    forget(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_work_is_linear, setup_quiet, teardown),
        cmocka_unit_test_setup_teardown(each_is_told_once, setup_quiet, teardown),
        cmocka_unit_test_setup_teardown(from_one_by_one_to_all_at_once, setup_quiet, teardown),
        cmocka_unit_test_setup_teardown(results_that_trickle_in, setup_quiet, teardown),
        cmocka_unit_test_setup_teardown(who_has_no_room_stands_in_line, setup_quiet, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
