/* When mail that stands in line ends (promise 9). What breaks for a user: it stands there for days
 * behind its destination's lifetime, or for ever, because somebody asks again and again. */
#include "tests/unit/queue/sched_world.h"

#define HOUR_MS (INT64_C(3600) * 1000)

static void expect_end(struct world *w, const struct message *m)
{
    struct sched_action a;
    expect(w, SCHED_EXPIRE, &a);
    assert_ptr_equal(a.job.message, m);
    assert_non_null(a.limits);
    expect_nothing(w);
}

/* One message in line at a site where nothing is begun. */
static struct message *in_line(struct world *w, int64_t lifetime_s)
{
    struct sched_action a;
    world_init(w, 1);
    sched_suspend(w->s, (const struct slice[]){SLICE_LIT("mx")}, 1);
    w->limits.lifetime_s = lifetime_s;
    struct message *m = add(w, "u", "a.test", 1);
    expect(w, SCHED_RESOLVE, &a);
    plan(w, "a.test", "mx");
    expect_nothing(w);
    return m;
}

/* Mail comes in line before anybody knows where to. */
static void the_destinations_lifetime_counts(void **state)
{
    (void)state;
    struct world w;
    const struct message *m = in_line(&w, 3600);
    pass(&w, HOUR_MS - 1);
    expect_nothing(&w);
    pass(&w, 1);
    expect_end(&w, m);
    world_done(&w);
}

/* A new configuration is for what waits as well, in both directions. */
static void so_does_another_one(void **state)
{
    (void)state;
    struct world w;
    const struct message *m = in_line(&w, 2 * 3600);
    w.limits.lifetime_s = 4 * 3600;
    plan(&w, "a.test", "mx");
    pass(&w, 3 * HOUR_MS);
    expect_nothing(&w);
    w.limits.lifetime_s = 3600;
    plan(&w, "a.test", "mx");
    pass(&w, 59999);
    expect_nothing(&w); /* one that could be tried now has a minute for it */
    pass(&w, 1);
    expect_end(&w, m);
    world_done(&w);
}

/* The job has come to nothing before it was an attempt, and every host refuses our login for a
 * while more. */
static void come_back(struct world *w, struct sched_action *a)
{
    finish(a);
    sched_feedback(w->s, a->conn, SCHED_BARRED, 1800, w->mono);
    sched_add(w->s, a->job.rcpts[0]);
    sched_conn_gone(w->s, a->conn, w->mono);
}

/* An operator asks each half a minute, and each time one job goes and comes back untouched. */
static void who_is_impatient_keeps_nothing(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 1);
    struct message *m = add(&w, "u", "a.test", 1);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "mx");
    expect(&w, SCHED_OPEN, &a);
    come_back(&w, &a);
    expect_nothing(&w);
    pass(&w, 5 * 24 * HOUR_MS - 10000);
    for (int i = 0; i < 2; i++) { /* within its lifetime, and its last turn */
        sched_hurry(w.s, &m->rcpts[0], w.now);
        while (next(&w, &a) && a.act == SCHED_RESOLVE)
            plan(&w, "a.test", "mx");
        assert_int_equal(a.act, SCHED_OPEN);
        pass(&w, 30000);
        come_back(&w, &a);
    }
    expect_end(&w, m);
    world_done(&w);
}

/* Who moves its mail about does not keep it either. */
static void nor_who_moves_it(void **state)
{
    (void)state;
    struct world w;
    struct message *m = in_line(&w, 3600);
    pass(&w, HOUR_MS - 10000);
    plan(&w, "a.test", "mx"); /* fresh */
    sched_remove(w.s, &m->rcpts[0]);
    sched_add(w.s, &m->rcpts[0]);
    expect_nothing(&w);
    pass(&w, 30000);
    expect_nothing(&w);
    sched_remove(w.s, &m->rcpts[0]);
    sched_add(w.s, &m->rcpts[0]);
    expect_end(&w, m);
    world_done(&w);
}

static struct sched_site_view view(struct world *w)
{
    struct sched_site_view v;
    assert_true(sched_site_look(w->s, SLICE_LIT("default"), SLICE_LIT("mx"), w->mono, &v));
    return v;
}

/* The next probe, which comes in about a minute and not before. */
static void probe(struct world *w, struct sched_action *a)
{
    const int64_t wait = view(w).next_probe.ms - w->mono.ms;
    assert_in_range(wait, 54000, 66000);
    pass(w, wait - 1);
    while (next(w, a))
        assert_int_equal(a->act, SCHED_CLOSE);
    pass(w, 1);
    plan(w, "a.test", "mx");
    expect(w, SCHED_OPEN, a);
    expect_nothing(w);
}

/* Promise 10: behind a fault of this host one job a minute looks whether it has passed, and nothing
 * ends; then all goes on at once. */
static void nothing_ends_because_of_us(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 4);
    for (int i = 0; i < 10; i++)
        add(&w, "u", "a.test", 1);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "mx");
    expect(&w, SCHED_OPEN, &a);
    struct sched_action other;
    expect(&w, SCHED_OPEN, &other);
    finish(&other);
    sched_feedback(w.s, other.conn, SCHED_OURS, 0, w.mono);
    sched_add(w.s, other.job.rcpts[0]);
    sched_conn_gone(w.s, other.conn, w.mono);
    assert_true(!view(&w).dead && view(&w).window == 1); /* what is open goes on, alone */
    expect_nothing(&w);
    for (int i = 0; i < 12; i++) { /* as long as it takes, and no pause grows */
        finish(&a);
        sched_feedback(w.s, a.conn, SCHED_OURS, 0, w.mono);
        sched_add(w.s, a.job.rcpts[0]);
        sched_conn_gone(w.s, a.conn, w.mono);
        assert_true(view(&w).dead && view(&w).ours);
        if (i == 5)
            w.now.us += INT64_C(30) * 86400 * WALL_SECOND; /* far behind all lifetimes */
        probe(&w, &a);
    }
    finish(&a);
    sched_feedback(w.s, a.conn, SCHED_OK, 0, w.mono);
    sched_conn_ready(w.s, a.conn, w.mono);
    assert_false(view(&w).dead || view(&w).ours);
    expect(&w, SCHED_WORK, &a);
    finish(&a);
    sched_conn_gone(w.s, a.conn, w.mono);
    world_done(&w);
}

/* The fault has passed, and the receiver is dead: then it counts as such. */
static void then_the_receiver_counts(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 1);
    add(&w, "u", "a.test", 1);
    const struct message *m = add(&w, "u", "a.test", 1);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "mx");
    expect(&w, SCHED_OPEN, &a);
    finish(&a);
    sched_feedback(w.s, a.conn, SCHED_OURS, 0, w.mono);
    sched_conn_gone(w.s, a.conn, w.mono);
    sched_hurry(w.s, w.messages[1]->rcpts, w.now); /* somebody asks: a probe before its time */
    expect(&w, SCHED_OPEN, &a);
    finish(&a);
    sched_feedback(w.s, a.conn, SCHED_UNREACHABLE, 0, w.mono);
    sched_add(w.s, a.job.rcpts[0]);
    sched_conn_gone(w.s, a.conn, w.mono);
    assert_true(view(&w).dead && !view(&w).ours);
    assert_in_range(view(&w).next_probe.ms - w.mono.ms, 13500, 16500);
    expect_nothing(&w);
    w.now.us += INT64_C(6) * 86400 * WALL_SECOND;
    expect_end(&w, m);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_destinations_lifetime_counts),
        cmocka_unit_test(so_does_another_one),
        cmocka_unit_test(who_is_impatient_keeps_nothing),
        cmocka_unit_test(nor_who_moves_it),
        cmocka_unit_test(nothing_ends_because_of_us),
        cmocka_unit_test(then_the_receiver_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
