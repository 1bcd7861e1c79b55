/* Suspended sites. What breaks for a user: mail goes where an operator has forbidden it, or stands
 * for ever where he has not. */
#include "tests/unit/queue/sched_world.h"

static void suspend(struct world *w, const char *name)
{
    const struct slice one = slice_str(name);
    sched_suspend(w->s, &one, name ? 1 : 0);
}

static void see(void *ctx, const struct sched_site_view *v)
{
    *(bool *)ctx = v->suspended;
}

static bool is_suspended(const struct world *w)
{
    bool is = false;
    sched_each_site(w->s, w->mono, see, &is);
    return is;
}

/* By the name of the destination or of the site; before the site is known, and after. */
static void nothing_begins(void **state)
{
    (void)state;
    static const char *const names[] = {"default", "mx"};
    for (int early = 0; early < 2; early++)
        for (size_t i = 0; i < 2; i++) {
            struct world w;
            struct sched_action a;
            world_init(&w, 10);
            if (early)
                suspend(&w, names[i]);
            add(&w, "u", "a.test", 1);
            expect(&w, SCHED_RESOLVE, &a);
            if (!early) {
                plan(&w, "a.test", "mx");
                suspend(&w, names[i]);
            } else {
                plan(&w, "a.test", "mx");
            }
            expect_nothing(&w);
            assert_true(is_suspended(&w));
            sched_hurry(w.s, &w.messages[0]->rcpts[0], w.now);
            pass(&w, 100000);
            expect_nothing(&w);
            suspend(&w, "another");
            assert_false(is_suspended(&w));
            expect(&w, SCHED_OPEN, &a);
            finish(&a);
            sched_conn_gone(w.s, a.conn, w.mono);
            world_done(&w);
        }
}

/* What is under way ends; the connection carries nothing more. */
static void a_connection_is_not_used_again(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 10);
    add(&w, "u", "a.test", 1);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "mx");
    expect(&w, SCHED_OPEN, &a);
    add(&w, "u", "a.test", 1);
    suspend(&w, "mx");
    finish(&a);
    sched_feedback(w.s, a.conn, SCHED_OK, 0, w.mono);
    sched_conn_ready(w.s, a.conn, w.mono);
    expect_nothing(&w);
    pass(&w, 5000);
    expect(&w, SCHED_CLOSE, &a);
    sched_conn_gone(w.s, a.conn, w.mono);
    expect_nothing(&w);
    suspend(&w, NULL);
    expect(&w, SCHED_OPEN, &a);
    finish(&a);
    sched_conn_gone(w.s, a.conn, w.mono);
    world_done(&w);
}

/* A suspension is no way to keep mail for ever (promise 9). */
static void mail_expires(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 10);
    struct message *m = add(&w, "u", "a.test", 1);
    suspend(&w, "mx");
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "mx");
    expect_nothing(&w);
    bool expired = false;
    for (int hour = 0; hour < 6 * 24 && !expired; hour++) {
        pass(&w, 3600 * 1000);
        while (!expired && next(&w, &a))
            expired = a.act == SCHED_EXPIRE;
        assert_true(!expired || hour >= 5 * 24 - 1);
    }
    assert_true(expired);
    assert_ptr_equal(a.job.message, m);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_begins),
        cmocka_unit_test(a_connection_is_not_used_again),
        cmocka_unit_test(mail_expires),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
