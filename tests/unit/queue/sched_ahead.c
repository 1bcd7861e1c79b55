/* One job ahead: who gets it, what it is when the first is over, and what becomes of it when it
 * comes back. */
#include "tests/unit/queue/sched_world.h"

static void a_job_ahead(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a, b, c, x;
    world_init(&w, 2);
    w.limits.window = 2;
    add(&w, "", "a.test", 1);
    expect(&w, SCHED_RESOLVE, &x);
    plan(&w, "a.test", "a");
    expect(&w, SCHED_OPEN, &a);
    sched_conn_ahead(w.s, a.conn);
    expect_nothing(&w); /* nobody waits */
    add(&w, "", "a.test", 1);
    expect(&w, SCHED_OPEN, &b); /* one may be opened still */
    for (int i = 0; i < 4; i++)
        add(&w, "", "a.test", 1);
    expect(&w, SCHED_WORK, &c);
    assert_int_equal(c.conn, a.conn);
    expect_nothing(&w); /* one, and no more */
    sched_conn_ahead(w.s, a.conn);
    expect_nothing(&w);
    /* The first is over, and the second is its job. */
    finish(&a);
    sched_conn_ready(w.s, a.conn, w.mono);
    expect_nothing(&w);
    sched_conn_ahead(w.s, a.conn);
    expect(&w, SCHED_WORK, &x);
    /* It comes back: to be given to whom comes next. */
    finish(&x);
    sched_add(w.s, x.job.rcpts[0]);
    sched_conn_back(w.s, a.conn);
    expect_nothing(&w);
    sched_conn_ahead(w.s, a.conn);
    finish(&b);
    sched_conn_ready(w.s, b.conn, w.mono);
    expect(&w, SCHED_WORK, &b); /* the idle one first */
    assert_int_not_equal(b.conn, a.conn);
    expect(&w, SCHED_WORK, &x);
    assert_int_equal(x.conn, a.conn);
    /* Gone with both. */
    finish(&c);
    finish(&x);
    sched_conn_gone(w.s, a.conn, w.mono);
    sched_conn_ahead(w.s, a.conn); /* of one that is gone: nothing */
    expect(&w, SCHED_OPEN, &a);
    world_done(&w);
}

/* Not above a connection's number of messages, not in a window that has shrunk, not where mail
 * stands still, not past a reload. */
static void no_job_ahead(void **state)
{
    (void)state;
    for (int what = 0; what < 5; what++) {
        struct world w;
        struct sched_action a, b, x;
        struct slice site = SLICE_LIT("a");
        world_init(&w, 2);
        w.limits.window = 2;
        w.limits.messages_per_connection = what == 0 ? 1 : 10;
        for (int i = 0; i < 5; i++)
            add(&w, "", "a.test", 1);
        expect(&w, SCHED_RESOLVE, &x);
        plan(&w, "a.test", "a");
        expect(&w, SCHED_OPEN, &a);
        expect(&w, SCHED_OPEN, &b);
        sched_conn_ahead(w.s, a.conn);
        if (what == 1)
            sched_feedback(w.s, b.conn, SCHED_THROTTLED, 0, w.mono);
        else if (what == 2)
            sched_suspend(w.s, &site, 1);
        else if (what == 3)
            sched_forget_plans(w.s);
        for (int i = 0; what == 4 && i < 3; i++)
            sched_feedback(w.s, b.conn, SCHED_UNREACHABLE, 0, w.mono);
        sched_conn_ahead(w.s, a.conn);
        while (next(&w, &x))
            assert_int_not_equal(x.act, SCHED_WORK);
        world_done(&w);
    }
}

/* No job begins before its rate allows, ahead or not. */
static void a_job_ahead_has_its_rate(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a, x;
    world_init(&w, 1);
    w.limits.rate = 2;
    w.limits.rate_ms = 60000;
    for (int i = 0; i < 5; i++)
        add(&w, "", "a.test", 1);
    expect(&w, SCHED_RESOLVE, &x);
    plan(&w, "a.test", "a");
    expect(&w, SCHED_OPEN, &a);
    pass(&w, 40000);
    sched_conn_ahead(w.s, a.conn);
    expect(&w, SCHED_WORK, &x);
    finish(&a);
    sched_conn_ready(w.s, a.conn, w.mono);
    sched_conn_ahead(w.s, a.conn);
    expect_nothing(&w); /* its rate holds for what goes ahead, too */
    pass(&w, 60000);
    expect(&w, SCHED_WORK, &x);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_ahead),
        cmocka_unit_test(no_job_ahead),
        cmocka_unit_test(a_job_ahead_has_its_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
