/* What operators ask of the core. */
#include "tests/unit/spooler/world.h"

static const struct queue_place begin;

static struct spooler_admin *ask(struct world *w, enum admin_verb verb, const char *to,
                                 struct queue_place at, unsigned limit)
{
    struct spooler_admin *a = must_alloc(sizeof *a);
    a->verb = verb;
    a->at = at;
    a->rows_max = UINT64_MAX;
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
    struct spooler_admin *a = ask(w, ADMIN_HOLD, "one@*", begin, 0);
    assert_int_equal(a->matched, 1);
    assert_int_equal(a->changed, 1);
    assert_int_equal(a->next.id, 0);
    forget(w);
    assert_int_equal(spool_find(w->spool, id)->rcpts[0].state, RCPT_HELD);
    struct out_work *job = job_of(w);
    assert_int_equal(job->n, 1); /* only the other one goes */
    assert_int_equal(job->rcpts[0], 1);

    a = ask(w, ADMIN_LIST, "", begin, 0);
    assert_int_equal(a->n_rows, 2);
    assert_true(a->rows[1].active && a->rows[0].state == RCPT_HELD);
    assert_true(a->rows[1].site.n > 0 && a->rows[0].site.n == 0);
    assert_true(slice_eq(a->rows[1].site, buf_slice(&job->site)));
    assert_true(slice_eq(a->rows[1].destination, buf_slice(&job->destination)));
    forget(w);
    a = ask(w, ADMIN_STATUS, "", begin, 0);
    assert_int_equal(a->totals.held, 1);
    assert_int_equal(a->totals.active, 1);
    assert_int_equal(a->n_sites, 1);
    assert_int_equal(a->sites[0].connections, 1);
    forget(w);

    /* What is with a connection is skipped, and tells so. */
    a = ask(w, ADMIN_REMOVE, "two@a.test", begin, 0);
    assert_int_equal(a->matched, 1);
    assert_int_equal(a->skipped, 1);
    forget(w);
    static char words[] = "mailbox full";
    struct verdict full = deferred;
    full.text = words;
    result(w, job, &full, true);
    pump(w);
    forget(w);
    a = ask(w, ADMIN_QUEUE, "", begin, 0);
    assert_int_equal(a->totals.waiting, 1);
    assert_int_equal(a->totals.age_buckets[0], 1);
    assert_int_equal(a->totals.errors[0].n, 1);
    assert_string_equal(buf_str(&a->totals.errors[0].text), "mailbox full");
    assert_int_equal(a->totals.errors[1].n, 0);
    forget(w);
    a = ask(w, ADMIN_REMOVE, "two@a.test", begin, 0);
    assert_int_equal(a->changed, 1);
    assert_int_equal(w->events[w->n_events - 1], EVENT_CANCELLED);
    assert_null(dsn(w)); /* remove tells nobody */
    forget(w);
    a = ask(w, ADMIN_RELEASE, "", begin, 0);
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
    struct spooler_admin *a = ask(w, ADMIN_RETRY, "", begin, 0);
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
    struct queue_place at = begin;
    uint64_t last = 0;
    size_t rows = 0, pages = 0;
    do {
        struct spooler_admin *a = ask(w, ADMIN_LIST, "", at, 10);
        assert_true(a->n_rows <= 10);
        for (size_t i = 0; i < a->n_rows; i++) {
            assert_true(a->rows[i].id > last);
            last = a->rows[i].id;
        }
        rows += a->n_rows;
        at = a->next;
        pages++;
        forget(w);
    } while (at.id);
    assert_int_equal(rows, 25);
    assert_int_equal(pages, 3);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(operators_hold_release_and_remove),
        TEST(retry_makes_due_now),
        TEST(listings_come_in_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
