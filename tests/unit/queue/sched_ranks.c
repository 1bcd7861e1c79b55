/* Priorities inside a site, and the ways that messages name. If this breaks, a password reset
 * stands behind a newsletter, a newsletter never goes, or mail leaves by another way than its
 * sender's. */
#include "tests/unit/queue/sched_world.h"

static struct message *add_ranked(struct world *w, int priority, const char *user, unsigned n)
{
    w->priority = (int8_t)priority;
    return add(w, user, "a.test", n);
}

static unsigned rank_of(const struct message *m)
{
    return m->priority >= 4 ? 0 : m->priority <= -4 ? 2 : 1;
}

/* The next job on the connection that has done its one. */
static void next_job(struct world *w, struct sched_action *a)
{
    finish(a);
    sched_conn_ready(w->s, a->conn, w->mono);
    expect(w, SCHED_WORK, a);
}

/* While all three wait each has its share, whatever the size of its messages; of two that are equal
 * users still take turns. */
static void ranks_have_shares(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 1);
    for (int i = 0; i < 900; i++) {
        add_ranked(&w, 9, i % 2 ? "u" : "v", 1);
        add_ranked(&w, -4, "u", 1);
        add_ranked(&w, i % 2 ? 3 : -3, "u", 1);
    }
    for (int i = 0; i < 10; i++)
        add_ranked(&w, 0, "u", 90);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "mx");
    expect(&w, SCHED_OPEN, &a);
    assert_int_equal(rank_of(a.job.message), 0); /* of equals the highest */
    size_t served[3] = {0}, of_u = 0, all = 0;
    for (; all < 1050; next_job(&w, &a)) {
        unsigned rank = rank_of(a.job.message);
        served[rank] += a.job.n;
        all += a.job.n;
        of_u += rank == 0 && slice_eq(message_user(a.job.message), SLICE_LIT("u"));
    }
    assert_true(served[0] >= 750 && served[0] <= 850);
    assert_true(served[1] >= 150 && served[1] <= 290);
    assert_true(served[2] >= 45 && served[2] <= 60);
    assert_true(of_u >= served[0] / 2 - 1 && of_u <= served[0] / 2 + 1);
    finish(&a);
    world_done(&w);
}

/* Urgent mail behind a hundred thousand of the same user's goes next. */
static void high_goes_first(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 1);
    for (int i = 0; i < 1000; i++)
        add_ranked(&w, i % 2 ? 0 : -9, "u", 1);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "mx");
    expect(&w, SCHED_OPEN, &a);
    for (int i = 0; i < 300; i++)
        next_job(&w, &a);
    for (int round = 0; round < 20; round++) {
        struct message *urgent = add_ranked(&w, 4, "u", 1);
        next_job(&w, &a);
        assert_ptr_equal(a.job.message, urgent);
        for (int i = 0; i < 10; i++)
            next_job(&w, &a);
    }
    finish(&a);
    world_done(&w);
}

/* High mail that comes one by one, as fast as it is served, does not keep the low from its turns;
 * nor does a rank that was idle have turns saved up. */
static void low_never_starves(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 1);
    add_ranked(&w, 9, "u", 1);
    for (int i = 0; i < 100; i++)
        add_ranked(&w, -9, "u", 1);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "mx");
    expect(&w, SCHED_OPEN, &a);
    size_t low = 0;
    for (int i = 0; i < 850; i++) {
        add_ranked(&w, 9, "u", 1);
        next_job(&w, &a);
        low += rank_of(a.job.message) == 2;
    }
    assert_true(low >= 49 && low <= 51); /* 1 of 17 */
    for (int i = 0; i < 3; i++)
        add_ranked(&w, 0, "u", 1);
    size_t normal = 0;
    for (int i = 0; i < 6; i++) {
        next_job(&w, &a);
        normal += rank_of(a.job.message) == 1;
        add_ranked(&w, 9, "u", 1);
    }
    assert_true(normal <= 2);
    finish(&a);
    world_done(&w);
}

/* A message that names its way asks for that, whatever its recipients' domain does otherwise. */
static void a_route_is_resolved(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 2);
    add(&w, "u", "A.test", 1);
    w.route = "smart host";
    struct message *routed = add(&w, "u", "a.Test", 2);
    expect(&w, SCHED_RESOLVE, &a);
    assert_true(slice_eq(a.domain, SLICE_LIT("a.test")));
    expect(&w, SCHED_RESOLVE, &a);
    assert_true(slice_eq(a.domain, SLICE_LIT("a.test>smart host")));
    plan(&w, "a.test>smart host", "smart");
    expect(&w, SCHED_OPEN, &a);
    assert_true(slice_eq(a.site, SLICE_LIT("smart")));
    assert_ptr_equal(a.job.message, routed);
    assert_int_equal(a.job.n, 2);
    expect_nothing(&w); /* the other one has no plan yet */
    finish(&a);
    world_done(&w);
}

/* Behind a dead receiver nothing ends; that it is late is said all the same, once, and it stays. */
static void late_in_line(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 1);
    sched_set_warning(w.s, 600);
    struct message *first = add(&w, "u", "a.test", 1), *other = mail(&w, "u", "a.test", 1, 0);
    other->rcpts[0].attempts = 1;
    sched_add(w.s, &other->rcpts[0]);
    struct message *fresh = add(&w, "u", "a.test", 1); /* was never tried: it has its turn yet */
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "mx");
    expect(&w, SCHED_OPEN, &a);
    assert_ptr_equal(a.job.message, first);
    expect_nothing(&w);
    pass(&w, 599 * 1000);
    struct sched_action late;
    expect_nothing(&w);
    pass(&w, 1000);
    expect(&w, SCHED_LATE, &late);
    assert_ptr_equal(late.job.message, other);
    assert_true(!other->rcpts[0].active && other->rcpts[0].domain);
    expect_nothing(&w);
    /* The one that never was tried hears of it as soon as nothing is begun any more. */
    sched_suspend(w.s, &SLICE_LIT("mx"), 1);
    pass(&w, 600 * 1000);
    bool told = false;
    while (next(&w, &late)) {
        assert_true(late.act == SCHED_LATE ? late.job.message == fresh : late.act == SCHED_RESOLVE);
        told = told || late.act == SCHED_LATE;
    }
    assert_true(told);
    pass(&w, 3600 * 1000);
    while (next(&w, &late)) /* the plan is old, and asked for again */
        assert_int_equal(late.act, SCHED_RESOLVE);
    assert_true(fresh->rcpts[0].domain && other->rcpts[0].domain);
    finish(&a);
    world_done(&w);
}

/* Who comes late takes turns, and is not paid for those that he had not been there for. */
static void newcomers_take_turns(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 1);
    for (int i = 0; i < 1000; i++)
        add(&w, "bulk", "a.test", 1);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "mx");
    expect(&w, SCHED_OPEN, &a);
    unsigned theirs = 0;
    for (int i = 0; i < 540; i++) {
        if (i == 500)
            for (int k = 0; k < 100; k++)
                add(&w, "other", "a.test", 1);
        finish(&a);
        sched_conn_ready(w.s, a.conn, w.mono);
        expect(&w, SCHED_WORK, &a);
        theirs += slice_eq(message_user(a.job.message), SLICE_LIT("other"));
    }
    assert_true(theirs >= 19 && theirs <= 21);
    finish(&a);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newcomers_take_turns), cmocka_unit_test(ranks_have_shares),
        cmocka_unit_test(high_goes_first),      cmocka_unit_test(low_never_starves),
        cmocka_unit_test(a_route_is_resolved),  cmocka_unit_test(late_in_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
