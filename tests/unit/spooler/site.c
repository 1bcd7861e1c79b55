/* How a site stands, for `explain`. What breaks for a user: at three in the morning he is told that
 * all is well there, or whose turn it is at another site. */
#include "tests/unit/spooler/world.h"

static struct spooler_site *ask(struct world *w, const char *site, uint64_t id, uint32_t rcpt)
{
    struct spooler_site *q = must_alloc(sizeof *q);
    q->row.destination = buf_of(SLICE_LIT("default"));
    q->row.site = buf_of(slice_str(site));
    q->id = id;
    q->rcpt = rcpt;
    give(w, q, SPOOLER_SITE);
    pump_now(w);
    struct core_action *a = seen(w, CORE_ANSWER, SPOOLER_SITE);
    assert_non_null(a);
    assert_ptr_equal(a->msg, q);
    *a = w->seen[--w->n];
    forget(w);
    return q;
}

static void done(struct spooler_site *q)
{
    spooler_request_free(&q->msg);
}

static void nobody_knows_it(void **state)
{
    struct world *w = *state;
    struct spooler_site *q = ask(w, "mx", 0, 0);
    assert_true(!q->known && !q->stands && q->row.error.n == 0);
    done(q);
}

static void its_trouble_is_told(void **state)
{
    struct world *w = *state;
    store(w, "s@x", 1, 0, 0);
    struct out_work *job = job_of(w);
    struct spooler_site *q = ask(w, "mx", 0, 0);
    assert_true(q->known && q->row.connections == 1 && q->row.window == 2 && q->row.limit == 4);
    assert_true(q->row.next_probe_ms == -1 && q->next_job_ms == -1 && q->hold_ms == -1);
    assert_int_equal(q->row.error.n, 0);
    done(q);
    struct verdict v = {.kind = VERDICT_DEFERRED,
                        .scope = SCOPE_SITE,
                        .phase = PHASE_MAIL,
                        .code = 450,
                        .enhanced = {4, 7, 1}};
    verdict_set_text(&v, SLICE_LIT("too much mail"));
    result(w, job, &v, false);
    verdict_done(&v);
    pump(w);
    forget(w);
    q = ask(w, "mx", 0, 0);
    assert_string_equal(buf_str(&q->row.error), "450 4.7.1 too much mail");
    assert_true(q->row.error_at.us > 0 && q->fails == 1 && q->row.window == 1 && q->hold_ms > 0);
    done(q);
}

/* A recipient's own trouble has its words, and counts nothing against the site. */
static void a_full_mailbox_is_no_failure(void **state)
{
    struct world *w = *state;
    store(w, "s@x", 1, 0, 0);
    struct verdict v = {.kind = VERDICT_DEFERRED, .phase = PHASE_RCPT, .code = 452};
    verdict_set_text(&v, SLICE_LIT("mailbox full"));
    v.enhanced = (struct enhanced){4, 2, 2};
    result(w, job_of(w), &v, true);
    verdict_done(&v);
    pump(w);
    forget(w);
    struct spooler_site *q = ask(w, "mx", 0, 0);
    assert_true(q->known && q->row.error.n > 0 && q->fails == 0 && q->hold_ms == -1);
    done(q);
}

static void where_it_stands(void **state)
{
    struct world *w = *state;
    char *names[] = {(char[]){"mx"}};
    core_suspend(w->core, names, 1);
    uint64_t first = store(w, "s@x", 2, 0, 0), second = store(w, "s@x", 2, 0, 0);
    pump(w);
    forget(w);
    plan(w, "a.test");
    pump(w);
    forget(w);
    unsigned places = 0; /* each has one of its own */
    for (uint32_t i = 0; i < 4; i++) {
        struct spooler_site *at = ask(w, "mx", i < 2 ? first : second, i % 2);
        assert_true(at->known && at->row.suspended && at->stands);
        assert_true(at->standing.ahead < 4 && at->standing.users == 1 && at->row.ready == 4);
        places |= 1U << at->standing.ahead;
        done(at);
    }
    assert_int_equal(places, 15);
    struct spooler_site *q = ask(w, "mx", first, 2); /* there is no such one */
    assert_true(q->known && !q->stands);
    done(q);
    q = ask(w, "mx", second + 1, 0);
    assert_true(q->known && !q->stands);
    done(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nobody_knows_it, setup, teardown),
        cmocka_unit_test_setup_teardown(its_trouble_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_mailbox_is_no_failure, setup, teardown),
        cmocka_unit_test_setup_teardown(where_it_stands, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
