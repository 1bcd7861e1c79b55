/* What the scheduler tells of itself. What breaks for a user: `explain` says that mail is next
 * while thousands stand before it, or names another site's trouble. */
#include "tests/unit/queue/sched_world.h"

static struct sched_site_view look(const struct world *w, const char *site)
{
    struct sched_site_view v;
    assert_true(sched_site_look(w->s, SLICE_LIT("default"), slice_str(site), w->mono, &v));
    return v;
}

static void a_place_in_line(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    struct sched_standing s;
    world_init(&w, 1);
    struct message *first = add(&w, "u", "a.test", 3), *other = add(&w, "v", "a.test", 1),
                   *second = add(&w, "u", "a.test", 2);
    w.priority = 6;
    struct message *urgent = add(&w, "u", "a.test", 1);
    assert_false(sched_standing(&second->rcpts[0], &s)); /* not due yet: nothing has looked */
    expect(&w, SCHED_RESOLVE, &a);
    assert_false(sched_standing(&second->rcpts[0], &s)); /* at no site yet */
    w.limits.connections = 0;
    sched_suspend(w.s, &(struct slice){(const uint8_t *)"mx", 2}, 1);
    plan(&w, "a.test", "mx");
    expect_nothing(&w);
    assert_true(sched_standing(&second->rcpts[1], &s));
    assert_true(s.ahead == 4 && s.users == 2 && s.rank == 1);
    assert_true(sched_standing(&first->rcpts[0], &s) && s.ahead == 0);
    assert_true(sched_standing(&other->rcpts[0], &s) && s.ahead == 0 && s.users == 2);
    assert_true(sched_standing(&urgent->rcpts[0], &s));
    assert_true(s.rank == 0 && s.ahead == 0 && s.users == 1);
    assert_int_equal(look(&w, "mx").ready, 7);
    world_done(&w);
}

/* However many there are, looking at one of them costs no more than this. */
static void the_count_is_bounded(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    struct sched_standing s;
    world_init(&w, 1);
    sched_suspend(w.s, &(struct slice){(const uint8_t *)"mx", 2}, 1);
    for (int i = 0; i < 120; i++)
        add(&w, "u", "a.test", 100);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "mx");
    for (int i = 0; i < 20; i++) /* so many are taken in at a time */
        expect_nothing(&w);
    uint64_t most = 0;
    for (unsigned i = 0; i < 120; i++) {
        assert_true(sched_standing(&w.messages[i]->rcpts[i % 100], &s));
        most = s.ahead > most ? s.ahead : most;
    }
    assert_int_equal(most, SCHED_AHEAD_MAX);
    world_done(&w);
}

static void the_state_of_a_site(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    struct sched_site_view v;
    world_init(&w, 4);
    w.limits.rate = 1;
    w.limits.rate_ms = 60000;
    add(&w, "u", "a.test", 1);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "mx");
    v = look(&w, "mx");
    assert_true(v.next_job.ms == MONO_NEVER.ms && v.error.n == 0 && v.hold.ms == 0);
    expect(&w, SCHED_OPEN, &a);
    assert_int_equal(look(&w, "mx").next_job.ms, w.mono.ms + 60000);
    assert_int_equal(look(&w, "mx").rate, 1);
    finish(&a);
    sched_feedback(w.s, a.conn, SCHED_THROTTLED, 0, w.mono);
    v = look(&w, "mx");
    assert_true(v.hold.ms > w.mono.ms && v.fails == 1);
    assert_false(sched_site_look(w.s, SLICE_LIT("default"), SLICE_LIT("another"), w.mono, &v));
    assert_false(sched_site_look(w.s, SLICE_LIT("d"), SLICE_LIT("mx"), w.mono, &v));
    sched_conn_gone(w.s, a.conn, w.mono);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_place_in_line),
        cmocka_unit_test(the_count_is_bounded),
        cmocka_unit_test(the_state_of_a_site),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
