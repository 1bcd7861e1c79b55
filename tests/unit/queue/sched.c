/* The scheduler: what breaks here is mail that stands still, a receiver that is flooded, or one
 * user's bulk before everybody's mail. */
#include "tests/unit/queue/sched_world.h"

/* --- the way of one message
 * ------------------------------------------------------------------------------- */

static void one_message_resolve_open_and_reuse(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 10);
    struct message *m = add(&w, "u", "Example.COM", 3);
    expect(&w, SCHED_RESOLVE, &a);
    assert_true(slice_eq(a.domain, SLICE_LIT("example.com")));
    expect_nothing(&w); /* asked once */
    plan(&w, "example.com", "mx");
    expect(&w, SCHED_OPEN, &a);
    assert_ptr_equal(a.job.message, m);
    assert_int_equal(a.job.n, 3); /* recipients of one message go together */
    assert_ptr_equal(a.plan, &w.plan);
    assert_true(m->rcpts[0].active && m->rcpts[2].active);
    uint64_t conn = a.conn;
    finish(&a);
    sched_feedback(w.s, conn, SCHED_OK, 0, w.mono);
    sched_conn_ready(w.s, conn, w.mono);
    expect_nothing(&w);

    add(&w, "u", "example.com", 1);
    expect(&w, SCHED_WORK, &a); /* no look-up, no new connection */
    assert_int_equal(a.conn, conn);
    finish(&a);
    sched_conn_ready(w.s, conn, w.mono);

    pass(&w, 4999);
    expect_nothing(&w);
    struct wall wall;
    struct mono mono;
    sched_deadline(w.s, &wall, &mono);
    assert_int_equal(mono.ms, w.mono.ms + 1);
    pass(&w, 1);
    expect(&w, SCHED_CLOSE, &a); /* idle for five seconds */
    assert_int_equal(a.conn, conn);
    sched_conn_gone(w.s, conn, w.mono);
    expect_nothing(&w);
    world_done(&w);
}

static void waits_until_due(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    struct wall wall;
    struct mono mono;
    uint64_t ready, waiting;
    world_init(&w, 10);
    struct message *m = mail(&w, "u", "x.test", 1, 60);
    sched_add(w.s, &m->rcpts[0]);
    expect_nothing(&w);
    sched_deadline(w.s, &wall, &mono);
    assert_int_equal(wall.us, m->rcpts[0].due.us);
    assert_int_equal(mono.ms, MONO_NEVER.ms);
    sched_count(w.s, &ready, &waiting);
    assert_int_equal(waiting, 1);
    pass(&w, 59999);
    expect_nothing(&w);
    pass(&w, 1);
    expect(&w, SCHED_RESOLVE, &a);
    sched_count(w.s, &ready, &waiting);
    assert_int_equal(ready, 1);
    assert_int_equal(waiting, 0);

    /* An operator does not wait. */
    m = mail(&w, "u", "y.test", 1, 3600);
    sched_add(w.s, &m->rcpts[0]);
    expect_nothing(&w);
    sched_hurry(w.s, &m->rcpts[0], w.now);
    expect(&w, SCHED_RESOLVE, &a);
    assert_true(slice_eq(a.domain, SLICE_LIT("y.test")));

    /* What is removed is gone, wherever it stood. */
    sched_remove(w.s, &m->rcpts[0]);
    plan(&w, "y.test", "mx");
    expect_nothing(&w);
    sched_remove(w.s, &m->rcpts[0]);
    world_done(&w);
}

/* All domains with the same MX set share a site, its window and its connections. */
static void domains_share_a_site(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a, b;
    world_init(&w, 1);
    add(&w, "u", "a.test", 1);
    add(&w, "u", "b.test", 1);
    expect(&w, SCHED_RESOLVE, &a);
    expect(&w, SCHED_RESOLVE, &b);
    plan(&w, "a.test", "google");
    plan(&w, "b.test", "google");
    expect(&w, SCHED_OPEN, &a);
    expect_nothing(&w);
    finish(&a);
    sched_conn_ready(w.s, a.conn, w.mono);
    expect(&w, SCHED_WORK, &b);
    assert_int_equal(a.conn, b.conn);
    finish(&b);
    world_done(&w);
}

struct handed {
    struct recipient *r[10];
    size_t n;
};
static void hand(void *ctx, struct recipient *r)
{
    struct handed *h = ctx;
    h->r[h->n++] = r;
}

static void no_plan_hands_out_the_due(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    struct handed h = {0};
    world_init(&w, 1);
    struct message *m = add(&w, "u", "gone.test", 2);
    struct message *later = mail(&w, "u", "gone.test", 1, 60);
    sched_add(w.s, &later->rcpts[0]);
    expect(&w, SCHED_RESOLVE, &a);
    sched_plan_failed(w.s, SLICE_LIT("gone.test"), hand, &h);
    assert_int_equal(h.n, 2);
    assert_ptr_equal(h.r[0], &m->rcpts[0]);
    assert_ptr_equal(h.r[1], &m->rcpts[1]);
    expect_nothing(&w);
    pass(&w, 60000);
    expect(&w, SCHED_RESOLVE, &a); /* the other one asks for itself */
    sched_plan_failed(w.s, SLICE_LIT("unknown.test"), hand, &h);
    assert_int_equal(h.n, 2);
    world_done(&w);
}

/* Checklist 48: a retry looks again; and a plan that has become old is not used for new
 * connections. */
static void old_plans_are_asked_again(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 1);
    add(&w, "u", "a.test", 1);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "one");
    expect(&w, SCHED_OPEN, &a);
    struct message *backlog = add(&w, "u", "a.test", 1);
    expect_nothing(&w);
    pass(&w, 3600 * 1000);
    fail_job(&w, &a, 86400);
    expect(&w, SCHED_RESOLVE, &a); /* before opening for the backlog */
    expect_nothing(&w);
    plan(&w, "a.test", "two"); /* and it has moved */
    expect(&w, SCHED_OPEN, &a);
    assert_ptr_equal(a.job.message, backlog);
    assert_true(slice_eq(a.site, SLICE_LIT("two")));
    finish(&a);
    world_done(&w);
}

/* 48: a retry looks again where the plan is old, though a connection made by that plan is at work
 * and could take it: the mail may have moved. */
static void a_retry_looks_again(void **state)
{
    (void)state;
    struct world w;
    struct sched_action busy, a;
    world_init(&w, 1);
    add(&w, "u", "a.test", 1);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "one");
    expect(&w, SCHED_OPEN, &busy);
    struct message *late = mail(&w, "u", "a.test", 1, 3599);
    sched_add(w.s, &late->rcpts[0]);
    pass(&w, 3599 * 1000);
    expect_nothing(&w); /* the plan is still good */
    sched_remove(w.s, &late->rcpts[0]);
    late->rcpts[0].due = w.now;
    pass(&w, 1000);
    sched_add(w.s, &late->rcpts[0]);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "two");
    finish(&busy);
    sched_conn_ready(w.s, busy.conn, w.mono);
    expect(&w, SCHED_OPEN, &a);
    assert_true(slice_eq(a.site, SLICE_LIT("two")));
    finish(&a);
    world_done(&w);
}

static void hands_out_nothing(void *ctx, struct recipient *r)
{
    (void)ctx;
    (void)r;
    fail_msg("an answer of before decides nothing");
}

/* A reload that names another receiver: nothing more may go to the old one. */
static void forgotten_plans_are_asked_again(void **state)
{
    (void)state;
    struct world w;
    struct sched_action idle, busy, a;
    world_init(&w, 2);
    add(&w, "u", "a.test", 1);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "site");
    expect(&w, SCHED_OPEN, &idle);
    add(&w, "u", "a.test", 1);
    expect(&w, SCHED_OPEN, &busy);
    finish(&idle);
    sched_conn_ready(w.s, idle.conn, w.mono);
    sched_forget_plans(w.s);
    expect(&w, SCHED_CLOSE, &a);
    assert_int_equal(a.conn, idle.conn);
    sched_conn_gone(w.s, idle.conn, w.mono);
    finish(&busy);
    sched_conn_ready(w.s, busy.conn, w.mono);
    expect(&w, SCHED_CLOSE, &a);
    assert_int_equal(a.conn, busy.conn);
    sched_conn_gone(w.s, busy.conn, w.mono);
    struct message *m = add(&w, "u", "a.test", 1);
    expect(&w, SCHED_RESOLVE, &a);
    expect_nothing(&w);
    plan(&w, "a.test", "site");
    expect(&w, SCHED_OPEN, &a);
    assert_ptr_equal(a.job.message, m);
    finish(&a);
    world_done(&w);
}

/* A look-up that was under way when the ways were forgotten tells the old one, and is asked again:
 * neither mail nor a password goes there, and no verdict of the old way ends the mail. */
static void an_answer_of_before_is_asked_again(void **state)
{
    (void)state;
    for (unsigned fails = 0; fails < 2; fails++) {
        struct world w;
        struct sched_action a;
        world_init(&w, 1);
        add(&w, "u", "a.test", 1);
        add(&w, "u", "b.test", 1);
        expect(&w, SCHED_RESOLVE, &a);
        expect(&w, SCHED_RESOLVE, &a);
        sched_forget_plans(w.s);
        if (fails)
            sched_plan_failed(w.s, SLICE_LIT("a.test"), hands_out_nothing, NULL);
        else
            plan(&w, "a.test", "old");
        expect(&w, SCHED_RESOLVE, &a);
        assert_true(slice_eq(a.domain, SLICE_LIT("a.test")));
        expect_nothing(&w);
        plan(&w, "a.test", "new");
        expect(&w, SCHED_OPEN, &a);
        assert_true(slice_eq(a.site, SLICE_LIT("new")));
        finish(&a);
        plan(&w, "b.test", "old");
        expect(&w, SCHED_RESOLVE, &a);
        assert_true(slice_eq(a.domain, SLICE_LIT("b.test")));
        world_done(&w);
    }
}

/* --- windows
 * -------------------------------------------------------------------------------------------------
 */

struct view_of {
    const char *site;
    struct sched_site_view v;
    bool found;
};
static void view_each(void *ctx, const struct sched_site_view *v)
{
    struct view_of *to = ctx;
    if (!slice_eq(v->site, slice_str(to->site)))
        return;
    to->v = *v;
    to->found = true;
}
static struct sched_site_view view(struct world *w, const char *site)
{
    struct view_of to = {.site = site};
    sched_each_site(w->s, w->mono, view_each, &to);
    assert_true(to.found);
    return to.v;
}

static unsigned open_all(struct world *w, struct sched_action *to, unsigned max)
{
    unsigned n = 0;
    struct sched_action a;
    while (next(w, &a)) {
        assert_int_equal(a.act, SCHED_OPEN);
        assert_true(n < max);
        to[n++] = a;
    }
    return n;
}

static void window_opens_and_closes(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a, open[64];
    world_init(&w, 10);
    for (int i = 0; i < 60; i++)
        add(&w, "u", "a.test", 1);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "mx");
    assert_int_equal(open_all(&w, open, 64), 5); /* half the limit */
    finish(&open[0]);
    sched_feedback(w.s, open[0].conn, SCHED_OK, 0, w.mono);
    assert_int_equal(view(&w, "mx").window, 6);
    sched_conn_gone(w.s, open[0].conn, w.mono);
    assert_int_equal(open_all(&w, open + 5, 64), 2);
    /* "too many connections": half of them, and nothing new until enough have gone */
    finish(&open[1]);
    sched_feedback(w.s, open[1].conn, SCHED_THROTTLED, 0, w.mono);
    assert_int_equal(view(&w, "mx").window, 3);
    sched_conn_ready(w.s, open[1].conn, w.mono);
    expect(&w, SCHED_CLOSE, &a); /* not kept: more are open than the window */
    assert_int_equal(a.conn, open[1].conn);
    sched_conn_gone(w.s, open[1].conn, w.mono);
    expect_nothing(&w);
    /* What else fails of that crowd says the same thing once more. */
    finish(&open[2]);
    sched_feedback(w.s, open[2].conn, SCHED_THROTTLED, 0, w.mono);
    assert_int_equal(view(&w, "mx").window, 3);
    sched_conn_gone(w.s, open[2].conn, w.mono);
    for (int i = 3; i < 7; i++) {
        finish(&open[i]);
        sched_feedback(w.s, open[i].conn, SCHED_OK, 0, w.mono);
    }
    assert_int_equal(view(&w, "mx").window, 3); /* six were too many: not so soon */
    world_done(&w);
}

static void connections_are_changed_after_enough_messages(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 1);
    w.limits.messages_per_connection = 2;
    for (int i = 0; i < 3; i++)
        add(&w, "u", "a.test", 1);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "mx");
    expect(&w, SCHED_OPEN, &a);
    uint64_t conn = a.conn;
    finish(&a);
    sched_conn_ready(w.s, conn, w.mono);
    expect(&w, SCHED_WORK, &a);
    finish(&a);
    sched_conn_ready(w.s, conn, w.mono);
    expect(&w, SCHED_CLOSE, &a);
    expect_nothing(&w); /* the receiver still sees it: the window is full */
    sched_conn_gone(w.s, conn, w.mono);
    expect(&w, SCHED_OPEN, &a);
    assert_true(a.conn > conn);
    finish(&a);
    world_done(&w);
}

/* So many messages wait, and three calls have failed. */
static void find_dead(struct world *w, int messages)
{
    struct sched_action a;
    for (int i = 0; i < messages; i++)
        add(w, "u", "dead.test", 1);
    expect(w, SCHED_RESOLVE, &a);
    plan(w, "dead.test", "mx");
    for (int i = 0; i < 3; i++) {
        expect(w, SCHED_OPEN, &a);
        fail_job(w, &a, 86400);
    }
}

/* Promise 24's half: a dead site burns no attempts of what waits, is probed more and more rarely,
 * and comes back at once. */
static void dead_sites_are_probed(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 4);
    find_dead(&w, 50);
    assert_true(view(&w, "mx").dead);
    w.limits.connections = 4;
    int64_t pause = 15000;
    for (int probe = 0; probe < 12; probe++) {
        expect_nothing(&w);
        pass(&w, pause * 8 / 10);
        expect_nothing(&w); /* ±10 % */
        struct wall wall;
        struct mono at;
        sched_deadline(w.s, &wall, &at);
        assert_true(at.ms <= w.mono.ms + pause * 3 / 10 + 1);
        pass(&w, pause * 3 / 10 + 1);
        plan(&w, "dead.test", "mx"); /* still fresh */
        expect(&w, SCHED_OPEN, &a);
        expect_nothing(&w); /* one at a time */
        fail_job(&w, &a, 86400);
        pause = pause * 2 < 1800000 ? pause * 2 : 1800000;
    }
    assert_int_equal(view(&w, "mx").ready, 50 - 15);
    pass(&w, pause * 11 / 10 + 1);
    plan(&w, "dead.test", "mx");
    expect(&w, SCHED_OPEN, &a);
    finish(&a);
    sched_feedback(w.s, a.conn, SCHED_OK, 0, w.mono);
    sched_conn_ready(w.s, a.conn, w.mono);
    assert_false(view(&w, "mx").dead);
    expect(&w, SCHED_WORK, &a);
    finish(&a);
    expect(&w, SCHED_OPEN, &a); /* success wakes what waits */
    finish(&a);
    world_done(&w);
}

/* An operator who retries again and again while a receiver is away would make everybody wait for
 * half an hour when it is back. */
static void who_is_impatient_makes_no_pause_longer(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 4);
    find_dead(&w, 50);
    for (int i = 0; i < 20; i++) {
        expect_nothing(&w);
        if (i % 2)
            sched_forget_plans(w.s); /* a reload */
        else
            sched_hurry(w.s, &w.messages[40]->rcpts[0], w.now);
        if (i % 2)
            expect(&w, SCHED_RESOLVE, &a);
        plan(&w, "dead.test", "mx");
        expect(&w, SCHED_OPEN, &a);
        fail_job(&w, &a, 86400);
        assert_in_range(view(&w, "mx").next_probe.ms, w.mono.ms + 13500, w.mono.ms + 16500);
    }
    pass(&w, 16501);
    plan(&w, "dead.test", "mx");
    expect(&w, SCHED_OPEN, &a); /* in its own time */
    fail_job(&w, &a, 86400);
    assert_in_range(view(&w, "mx").next_probe.ms, w.mono.ms + 27000, w.mono.ms + 33000);
    world_done(&w);
}

/* Promise 9: nothing stands before a dead site for ever. */
static void expires_in_line_before_a_dead_site(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 1);
    for (int i = 0; i < 5; i++)
        add(&w, "u", "dead.test", 1);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "dead.test", "mx");
    for (int i = 0; i < 3; i++) {
        expect(&w, SCHED_OPEN, &a);
        fail_job(&w, &a, 30 * 86400);
    }
    w.now.us += INT64_C(5) * 86400 * WALL_SECOND;
    for (int i = 0; i < 2; i++) {
        expect(&w, SCHED_EXPIRE, &a);
        assert_int_equal(a.job.n, 1);
        assert_false(a.job.rcpts[0]->active);
    }
    expect_nothing(&w);
    world_done(&w);
}

/* --- turns
 * ----------------------------------------------------------------------------------------------------
 */

/* Promise 25: one message behind a hundred thousand of another user goes with the next free
 * connection or the one after. */
static void users_take_turns(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 1);
    for (int i = 0; i < 2000; i++)
        add(&w, "bulk", "a.test", 1);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "mx");
    expect(&w, SCHED_OPEN, &a);
    uint64_t conn = a.conn;
    for (int i = 0; i < 500; i++) {
        finish(&a);
        sched_conn_ready(w.s, conn, w.mono);
        expect(&w, SCHED_WORK, &a);
    }
    struct message *other = add(&w, "other", "a.test", 1);
    bool served = false;
    for (int i = 0; i < 3 && !served; i++) {
        finish(&a);
        sched_conn_ready(w.s, conn, w.mono);
        expect(&w, SCHED_WORK, &a);
        served = a.job.message == other;
    }
    assert_true(served);
    finish(&a);
    world_done(&w);
}

/* Turns are counted by recipients: jobs of a hundred do not weigh as much as jobs of one. */
static void turns_count_recipients(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    world_init(&w, 1);
    for (int i = 0; i < 20; i++)
        add(&w, "lists", "a.test", 50);
    for (int i = 0; i < 600; i++)
        add(&w, "single", "a.test", 1);
    expect(&w, SCHED_RESOLVE, &a);
    plan(&w, "a.test", "mx");
    expect(&w, SCHED_OPEN, &a);
    size_t lists = 0, single = 0;
    for (int i = 0; i < 510; i++) {
        bool is_list = slice_eq(message_user(a.job.message), SLICE_LIT("lists"));
        lists += is_list ? a.job.n : 0;
        single += is_list ? 0 : a.job.n;
        finish(&a);
        sched_conn_ready(w.s, a.conn, w.mono);
        expect(&w, SCHED_WORK, &a);
    }
    assert_true(lists >= 450 && lists <= 550);
    assert_true(single >= 450 && single <= 550);
    finish(&a);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_message_resolve_open_and_reuse),
        cmocka_unit_test(waits_until_due),
        cmocka_unit_test(domains_share_a_site),
        cmocka_unit_test(no_plan_hands_out_the_due),
        cmocka_unit_test(old_plans_are_asked_again),
        cmocka_unit_test(forgotten_plans_are_asked_again),
        cmocka_unit_test(an_answer_of_before_is_asked_again),
        cmocka_unit_test(a_retry_looks_again),
        cmocka_unit_test(window_opens_and_closes),
        cmocka_unit_test(connections_are_changed_after_enough_messages),
        cmocka_unit_test(dead_sites_are_probed),
        cmocka_unit_test(who_is_impatient_makes_no_pause_longer),
        cmocka_unit_test(expires_in_line_before_a_dead_site),
        cmocka_unit_test(users_take_turns),
        cmocka_unit_test(turns_count_recipients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
