/* Windows, rates, lifetimes of sites: too wide, and a receiver turns us away; too narrow, and mail
 * lies about that he would take. */
#include "tests/unit/queue/sched_world.h"

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
static struct sched_site_view view(struct world *w)
{
    struct view_of to = {.site = "mx"};
    sched_each_site(w->s, w->mono, view_each, &to);
    assert_true(to.found);
    return to.v;
}

/* n messages to one site that has its plan. */
static void begin(struct world *w, unsigned connections, int n)
{
    struct sched_action a;
    world_init(w, connections);
    for (int i = 0; i < n; i++)
        add(w, "u", "a.test", 1);
    expect(w, SCHED_RESOLVE, &a);
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

static void done(struct world *w, struct sched_action *a, enum sched_outcome o)
{
    finish(a);
    sched_feedback(w->s, a->conn, o, 0, w->mono);
    sched_conn_gone(w->s, a->conn, w->mono);
}

static void the_window_begins_as_configured(void **state)
{
    (void)state;
    static const struct {
        unsigned connections, window, first;
    } cases[] = {{20, 0, 10}, {20, 5, 5}, {20, 20, 20}, {1, 0, 1}, {2, 0, 2}, {3, 0, 2}, {4, 9, 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        struct sched_action open[32];
        begin(&w, cases[i].connections, 32);
        w.limits.window = cases[i].window;
        plan(&w, "a.test", "mx");
        assert_int_equal(open_all(&w, open, 32), cases[i].first);
        world_done(&w);
    }
}

/* Checklist 79. A receiver that takes four at a time: those beyond cost one place each, and the
 * window is tried again only after a while, and later still when it was too wide again. */
static void refused_connections_are_one_too_many(void **state)
{
    (void)state;
    struct world w;
    struct sched_action open[64], more[8];
    begin(&w, 20, 64);
    w.limits.window = 8;
    plan(&w, "a.test", "mx");
    assert_int_equal(open_all(&w, open, 64), 8);
    for (int i = 4; i < 8; i++)
        done(&w, &open[i], SCHED_REFUSED);
    assert_int_equal(view(&w).window, 4);
    assert_int_equal(open_all(&w, more, 8), 0);
    int64_t hold_ms = 60 * 1000;
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 4; i++)
            sched_feedback(w.s, open[i].conn, SCHED_OK, 0, w.mono);
        assert_int_equal(view(&w).window, 4);
        pass(&w, hold_ms - 1);
        plan(&w, "a.test", "mx"); /* still fresh */
        sched_feedback(w.s, open[0].conn, SCHED_OK, 0, w.mono);
        assert_int_equal(view(&w).window, 4);
        pass(&w, 1);
        sched_feedback(w.s, open[0].conn, SCHED_OK, 0, w.mono);
        assert_int_equal(view(&w).window, 5);
        assert_int_equal(open_all(&w, more, 8), 1);
        done(&w, &more[0], SCHED_REFUSED);
        assert_int_equal(view(&w).window, 4);
        hold_ms *= 2;
    }
    world_done(&w);
}

/* What was too wide once is not for ever: by 1, 2, 4 … when nothing fails any more. */
static void the_window_recovers(void **state)
{
    (void)state;
    struct world w;
    struct sched_action open[64];
    static const unsigned widths[] = {4, 5, 7, 11, 19, 20, 20};
    begin(&w, 20, 64);
    w.limits.window = 8;
    plan(&w, "a.test", "mx");
    unsigned n = open_all(&w, open, 64);
    finish(&open[0]);
    sched_feedback(w.s, open[0].conn, SCHED_THROTTLED, 0, w.mono);
    sched_conn_gone(w.s, open[0].conn, w.mono);
    for (unsigned i = n; --i > 3;) {
        finish(&open[i]);
        sched_conn_gone(w.s, open[i].conn, w.mono);
    }
    open[0] = open[3];
    n = 3 + open_all(&w, open + 3, 64);
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        assert_int_equal(view(&w).window, widths[i]);
        pass(&w, 60 * 1000);
        plan(&w, "a.test", "mx");
        sched_feedback(w.s, open[0].conn, SCHED_OK, 0, w.mono);
        n += open_all(&w, open + n, 64 - n);
        assert_int_equal(view(&w).connections, view(&w).window);
    }
    world_done(&w);
}

/* Connections that are lost now and then close the window for a moment only. */
static void noise_does_not_hold_the_window(void **state)
{
    (void)state;
    struct world w;
    struct sched_action open[64];
    begin(&w, 10, 64);
    plan(&w, "a.test", "mx");
    unsigned n = open_all(&w, open, 64);
    assert_int_equal(n, 5);
    done(&w, &open[0], SCHED_UNREACHABLE);
    assert_int_equal(view(&w).window, 2);
    done(&w, &open[1], SCHED_UNREACHABLE); /* of the same crowd */
    assert_int_equal(view(&w).window, 2);
    for (int i = 0; i < 8; i++)
        sched_feedback(w.s, open[2].conn, SCHED_OK, 0, w.mono);
    assert_int_equal(view(&w).window, 4);
    world_done(&w);
}

/* A window grows for those who use it. */
static void an_idle_window_does_not_grow(void **state)
{
    (void)state;
    struct world w;
    struct sched_action open[8];
    begin(&w, 10, 2);
    plan(&w, "a.test", "mx");
    assert_int_equal(open_all(&w, open, 8), 2);
    for (int i = 0; i < 20; i++)
        sched_feedback(w.s, open[0].conn, SCHED_OK, 0, w.mono);
    assert_int_equal(view(&w).window, 5);
    world_done(&w);
}

/* Where a single connection is too much, too, the site is left alone, its kept connection included;
 * for as long as the receiver says, when it says. */
static void throttled_at_one_connection_pauses(void **state)
{
    (void)state;
    for (int64_t after_s = 0; after_s <= 120; after_s += 120) {
        struct world w;
        struct sched_action a;
        begin(&w, 1, 10);
        plan(&w, "a.test", "mx");
        expect(&w, SCHED_OPEN, &a);
        finish(&a);
        sched_feedback(w.s, a.conn, SCHED_THROTTLED, after_s, w.mono);
        sched_conn_ready(w.s, a.conn, w.mono);
        expect_nothing(&w);
        assert_true(view(&w).throttled);
        int64_t wait = view(&w).next_probe.ms - w.mono.ms;
        assert_true(after_s ? wait == 120000 : wait >= 13500 && wait <= 16500);
        pass(&w, 5000);
        expect(&w, SCHED_CLOSE, &a);
        sched_conn_gone(w.s, a.conn, w.mono);
        pass(&w, wait - 5001);
        expect_nothing(&w);
        pass(&w, 1);
        plan(&w, "a.test", "mx");
        expect(&w, SCHED_OPEN, &a);
        done(&w, &a, SCHED_OK);
        assert_false(view(&w).throttled);
        world_done(&w);
    }
}

/* A receiver that takes thirty and then wants to be left alone: the pause grows until it is worth
 * it, and then stays. */
static void pauses_grow_until_enough_comes_through(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    begin(&w, 1, 4000);
    plan(&w, "a.test", "mx");
    int64_t pause = 0;
    static const struct {
        int oks;
        int64_t pause_s;
    } rounds[] = {{30, 15}, {30, 30}, {30, 60}, {60, 60}, {60, 60}, {49, 120}, {500, 15}};
    for (size_t i = 0; i < sizeof rounds / sizeof *rounds; i++) {
        for (int k = 0; k <= rounds[i].oks; k++) {
            expect(&w, SCHED_OPEN, &a);
            done(&w, &a, k < rounds[i].oks ? SCHED_OK : SCHED_THROTTLED);
        }
        expect_nothing(&w);
        pause = view(&w).next_probe.ms - w.mono.ms;
        assert_true(pause >= rounds[i].pause_s * 900 && pause <= rounds[i].pause_s * 1100);
        pass(&w, pause);
        plan(&w, "a.test", "mx");
    }
    world_done(&w);
}

/* Promise 23: jobs begin at the rate, on new connections and on kept ones, and a reload that leaves
 * the rate leaves what was counted. */
static void the_rate_holds(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    struct wall wall;
    struct mono at;
    begin(&w, 3, 60);
    w.limits.rate = 10;
    w.limits.rate_ms = 1000;
    plan(&w, "a.test", "mx");
    int64_t begun = w.mono.ms;
    for (int i = 0; i < 50; i++) {
        assert_true(next(&w, &a));
        assert_true(a.act == SCHED_OPEN || a.act == SCHED_WORK);
        assert_int_equal(w.mono.ms - begun, i * 100);
        finish(&a);
        sched_feedback(w.s, a.conn, SCHED_OK, 0, w.mono);
        sched_conn_ready(w.s, a.conn, w.mono);
        expect_nothing(&w);
        sched_deadline(w.s, &wall, &at);
        assert_int_equal(at.ms, w.mono.ms + 100);
        if (i == 20)
            plan(&w, "a.test", "mx");
        pass(&w, 99);
        expect_nothing(&w);
        pass(&w, 1);
    }
    world_done(&w);
}

/* What an operator sees of the pace: jobs of the last minute, which die away; and the last error.
 */
static void the_view_tells_the_pace(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    begin(&w, 1, 40);
    w.limits.rate = 600;
    w.limits.rate_ms = 60000;
    w.mono.ms = 60000 * 100;
    plan(&w, "a.test", "mx");
    assert_true(next(&w, &a));
    for (int i = 0; i < 30; i++) {
        finish(&a);
        sched_conn_ready(w.s, a.conn, w.mono);
        pass(&w, 1000);
        assert_true(next(&w, &a));
    }
    assert_int_equal(view(&w).per_minute, 31);
    assert_int_equal(view(&w).rate, 600);
    assert_int_equal(view(&w).rate_ms, 60000);
    assert_int_equal(view(&w).error.n, 0);
    sched_note_error(w.s, a.conn, SLICE_LIT("mx.a.test: 421 no"), w.now);
    sched_note_error(w.s, a.conn, SLICE_LIT("mx.a.test: 451 later"), w.now);
    sched_note_error(w.s, a.conn + 1, SLICE_LIT("of nobody"), w.now);
    assert_true(slice_eq(view(&w).error, SLICE_LIT("mx.a.test: 451 later")));
    assert_int_equal(view(&w).error_at.us, w.now.us);
    pass(&w, 30000);
    assert_int_equal(view(&w).per_minute, 31); /* of which half a minute is left now */
    pass(&w, 30000);
    assert_int_equal(view(&w).per_minute, 15);
    pass(&w, 30000);
    assert_int_equal(view(&w).per_minute, 0);
    finish(&a);
    world_done(&w);
}

/* Mail that comes one by one, each after the site was forgotten, is not free of the rate. */
static void the_rate_outlives_its_mail(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    int64_t last = INT64_MIN / 2;
    unsigned begun = 0;
    world_init(&w, 3);
    w.limits.rate = 10;
    w.limits.rate_ms = 3600 * 1000;
    for (int minute = 0; minute < 120; minute++) {
        add(&w, "u", "a.test", 1);
        while (next(&w, &a)) {
            if (a.act == SCHED_RESOLVE) {
                sched_plan(w.s, SLICE_LIT("a.test"), SLICE_LIT("mx"), SLICE_LIT("d"), &w.limits,
                           &w.plan, mono_add(w.mono, 5000), w.mono);
            } else if (a.act == SCHED_CLOSE) {
                sched_conn_gone(w.s, a.conn, w.mono);
            } else {
                assert_true(w.mono.ms - last >= 360 * 1000);
                last = w.mono.ms;
                begun++;
                done(&w, &a, SCHED_OK);
            }
        }
        pass(&w, 60 * 1000);
    }
    assert_int_equal(begun, 20);
    world_done(&w);
}

/* Not even when nothing was left there, mail or connection, for minutes. */
static void the_rate_outlives_its_connections(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    int64_t last = INT64_MIN / 2;
    unsigned begun = 0;
    world_init(&w, 3);
    w.limits.rate = 10;
    w.limits.rate_ms = 3600 * 1000;
    for (int minute = 0; minute < 20; minute++) {
        if (minute % 4 == 0)
            add(&w, "u", "a.test", 1);
        while (next(&w, &a)) {
            if (a.act == SCHED_RESOLVE) {
                sched_plan(w.s, SLICE_LIT("a.test"), SLICE_LIT("mx"), SLICE_LIT("d"), &w.limits,
                           &w.plan, mono_add(w.mono, 5000), w.mono);
            } else if (a.act == SCHED_CLOSE) {
                sched_conn_gone(w.s, a.conn, w.mono);
            } else {
                assert_true(w.mono.ms - last >= 360 * 1000);
                last = w.mono.ms;
                begun++;
                finish(&a);
                sched_feedback(w.s, a.conn, SCHED_OK, 0, w.mono);
                sched_conn_gone(w.s, a.conn, w.mono);
            }
        }
        pass(&w, 60 * 1000);
    }
    assert_int_equal(begun, 4);
    world_done(&w);
}

/* A rate that has come to rest keeps no site for ever. */
static void sites_are_forgotten(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    begin(&w, 3, 1);
    w.limits.rate = 10;
    w.limits.rate_ms = 1000;
    plan(&w, "a.test", "mx");
    expect(&w, SCHED_OPEN, &a);
    done(&w, &a, SCHED_OK);
    for (int i = 0; i < 10; i++) {
        pass(&w, 3600 * 1000);
        expect_nothing(&w);
    }
    struct view_of to = {.site = "mx"};
    sched_each_site(w.s, w.mono, view_each, &to);
    assert_false(to.found);
    world_done(&w);
}

/* The destination's lifetime counts where it is shorter: in line before a dead site, too. */
static void a_destination_has_its_own_lifetime(void **state)
{
    (void)state;
    struct world w;
    struct sched_action a;
    begin(&w, 1, 3);
    w.limits.lifetime_s = 3600;
    plan(&w, "a.test", "mx");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(sched_rcpt_expires(&w.messages[2]->rcpts[0]).us,
                         wall_add_s(w.messages[2]->queued, 3600).us);
        expect(&w, SCHED_OPEN, &a);
        if (i < 2)
            fail_job(&w, &a, 86400);
    }
    finish(&a); /* back untouched */
    sched_add(w.s, a.job.rcpts[0]);
    sched_feedback(w.s, a.conn, SCHED_UNREACHABLE, 0, w.mono);
    sched_conn_gone(w.s, a.conn, w.mono);
    expect_nothing(&w);
    w.now.us += INT64_C(3599) * WALL_SECOND;
    expect_nothing(&w);
    w.now.us += WALL_SECOND;
    expect(&w, SCHED_EXPIRE, &a);
    assert_int_equal(a.limits->lifetime_s, 3600);
    assert_ptr_equal(a.job.message, w.messages[2]);
    expect_nothing(&w);
    /* Never longer than the message's own. */
    struct message *m = w.messages[0];
    assert_int_equal(sched_expires(m, 0).us, message_expires(m).us);
    assert_int_equal(sched_expires(m, 30 * 86400).us, message_expires(m).us);
    world_done(&w);
}

/* 75: where every host has refused our login nothing is tried before one may be asked again,
 * whatever stands in line; then one job asks. A reload, perhaps with a better password, asks at
 * once; but not a receiver that wants to be left alone. */
static void a_refused_login_stops_the_site(void **state)
{
    (void)state;
    for (unsigned reload = 0; reload < 2; reload++) {
        struct world w;
        struct sched_action open[32], a;
        begin(&w, 20, 20);
        plan(&w, "a.test", "mx");
        unsigned n = open_all(&w, open, 32);
        assert_int_equal(n, 10);
        finish(&open[0]);
        sched_feedback(w.s, open[0].conn, SCHED_BARRED, 61, w.mono);
        sched_conn_gone(w.s, open[0].conn, w.mono);
        assert_true(view(&w).dead);
        for (unsigned i = 1; i < n; i++) /* they found it so, and say the same */
            done(&w, &open[i], SCHED_BARRED);
        assert_int_equal(view(&w).next_probe.ms - w.mono.ms, 61000);
        expect_nothing(&w);
        if (reload) {
            sched_forget_plans(w.s);
            expect(&w, SCHED_RESOLVE, &a);
        } else {
            pass(&w, 60999);
            expect_nothing(&w);
            pass(&w, 1);
        }
        plan(&w, "a.test", "mx");
        expect(&w, SCHED_OPEN, &a);
        expect_nothing(&w);
        done(&w, &a, SCHED_OK);
        assert_false(view(&w).dead);
        assert_true(open_all(&w, open, 32) > 0);
        world_done(&w);
    }
    struct world w;
    struct sched_action open[4];
    begin(&w, 1, 3);
    plan(&w, "a.test", "mx");
    assert_int_equal(open_all(&w, open, 4), 1);
    done(&w, &open[0], SCHED_THROTTLED);
    sched_forget_plans(w.s);
    expect_nothing(&w);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_window_begins_as_configured),
        cmocka_unit_test(refused_connections_are_one_too_many),
        cmocka_unit_test(the_window_recovers),
        cmocka_unit_test(noise_does_not_hold_the_window),
        cmocka_unit_test(an_idle_window_does_not_grow),
        cmocka_unit_test(throttled_at_one_connection_pauses),
        cmocka_unit_test(pauses_grow_until_enough_comes_through),
        cmocka_unit_test(the_rate_holds),
        cmocka_unit_test(the_view_tells_the_pace),
        cmocka_unit_test(the_rate_outlives_its_mail),
        cmocka_unit_test(the_rate_outlives_its_connections),
        cmocka_unit_test(sites_are_forgotten),
        cmocka_unit_test(a_destination_has_its_own_lifetime),
        cmocka_unit_test(a_refused_login_stops_the_site),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
