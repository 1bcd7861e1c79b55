/* What goes together in a job, and what a receiver or an administrator can ask for: if this breaks,
 * mail is handed to another domain's host, or a site waits for a year because its host said so. */
#include "tests/unit/queue/sched_world.h"

/* One recipient at each of these, due now and given to the scheduler. */
static struct message *to_each(struct world *w, const char *const *domains, unsigned n)
{
    struct envelope_rcpt rcpts[8];
    char texts[8][100];
    for (unsigned i = 0; i < n; i++) {
        snprintf(texts[i], sizeof texts[i], "r%u@%s", i, domains[i]);
        rcpts[i] = (struct envelope_rcpt){.address = slice_str(texts[i])};
    }
    struct envelope e = {.rcpts = rcpts, .n_rcpts = n};
    struct message *m =
        message_new(w->n_messages + 1, &e, w->now, NULL, intern_get(&w->users, SLICE_LIT("u")));
    m->lifetime_s = 5 * 86400;
    w->messages[w->n_messages++] = m;
    for (unsigned i = 0; i < n; i++) {
        m->rcpts[i].due = w->now;
        sched_add(w->s, &m->rcpts[i]);
    }
    return m;
}

static void a_job_is_of_one_site(void **state)
{
    static const char *const domains[] = {"a1.test", "b1.test", "a2.test", "b2.test", "a3.test"};
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 4);
    to_each(&w, domains, 5);
    for (int i = 0; i < 5; i++)
        expect(&w, SCHED_RESOLVE, &a);
    for (int i = 0; i < 5; i++)
        plan(&w, domains[i], domains[i][0] == 'a' ? "mxa" : "mxb");
    for (int i = 0; i < 2; i++) {
        expect(&w, SCHED_OPEN, &a);
        const bool first = slice_eq(a.site, SLICE_LIT("mxa"));
        assert_int_equal(a.job.n, first ? 3 : 2);
        for (size_t k = 0; k < a.job.n; k++)
            assert_int_equal(a.job.rcpts[k]->number % 2, !first);
        finish(&a);
    }
    expect_nothing(&w);
    world_done(&w);
}

static void a_job_has_so_many_recipients(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    size_t all = 0;
    world_init(&w, 10);
    w.limits.recipients_per_message = 3;
    add(&w, "u", "a.test", 10);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "mx");
    while (next(&w, &a)) {
        assert_true(a.job.n <= 3);
        all += a.job.n;
        finish(&a);
    }
    assert_int_equal(all, 10);
    world_done(&w);
}

/* "Come back in a thousand years" is heard for half an hour. */
static void nobody_asks_for_longer_than_that(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 1);
    add(&w, "u", "a.test", 1);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "mx");
    expect(&w, SCHED_OPEN, &a);
    finish(&a);
    a.job.rcpts[0]->due = w.now;
    sched_add(w.s, a.job.rcpts[0]);
    sched_feedback(w.s, a.conn, SCHED_THROTTLED, INT64_C(1000) * 365 * 86400, w.mono);
    sched_conn_gone(w.s, a.conn, w.mono);
    pass(&w, INT64_C(29) * 60 * 1000);
    expect_nothing(&w);
    pass(&w, INT64_C(2) * 60 * 1000);
    expect(&w, SCHED_OPEN, &a);
    finish(&a);
    world_done(&w);
}

/* A reload that allows fewer connections counts at once, not when the window happens to shrink. */
static void fewer_connections_are_fewer(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a, open[4];
    world_init(&w, 8);
    for (int i = 0; i < 12; i++)
        add(&w, "u", "a.test", 1);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "mx");
    for (int i = 0; i < 4; i++)
        expect(&w, SCHED_OPEN, &open[i]);
    for (int i = 0; i < 4; i++) {
        finish(&open[i]);
        sched_conn_gone(w.s, open[i].conn, w.mono);
    }
    w.limits.connections = 1;
    plan(&w, "a.test", "mx");
    expect(&w, SCHED_OPEN, &a);
    expect_nothing(&w);
    finish(&a);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_is_of_one_site),
        cmocka_unit_test(a_job_has_so_many_recipients),
        cmocka_unit_test(nobody_asks_for_longer_than_that),
        cmocka_unit_test(fewer_connections_are_fewer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
