/*
 * A ban comes, and perhaps goes, while passwords wait for the hasher: what their clients hear of
 * it, and that nobody is counted for a password that was never looked at. Checklist 10.
 *
 * Both threads stand still at gates of the test's, so that each order of events is one that happens
 * every time.
 */
#include "relay/base/metrics.h"
#include "tests/unit/inbound/world.h"

#define RIGHT "AUTH PLAIN AHUAb25l\r\n" /* u, one */
#define WRONG "AUTH PLAIN AHUAdHdv\r\n" /* u, two */

static void stand_as_msg(void *ctx, struct msg *m)
{
    (void)m;
    gate_stand(ctx);
}

static void hold_loop(struct gate *g, const struct world *w)
{
    gate_init(g, w);
    g->port.fn = stand_as_msg;
    port_send(&g->port, &g->job.msg);
    sem_wait(&g->reached);
}

static struct clients_key this_machine(void)
{
    struct clients_key k;
    assert_true(clients_key_parse(SLICE_LIT("127.0.0.1"), &k));
    return k;
}

/* This machine is a client like any other. */
static struct world *world_of_one_user(void)
{
    struct world *w = world_new(0, "");
    struct conf *fresh = load_conf(w, "} clients { allow = { \"192.0.2.1\" } auth-failures = 3 ");
    inbound_reconfigure(w->in, fresh, w->tls);
    conf_unref(w->conf);
    w->conf = fresh;
    loop_has_read(w);
    write_user(w, "u", "one", "");
    return w;
}

/* With the hasher held, what waits can be taken out and put back. */
static void until_it_waits(const struct world *w)
{
    struct turns *turns = w->shared->turns;
    struct turn *one = NULL;
    for (int i = 0; !(one = turns_pop(turns)); i++) {
        assert_true(i < PATIENCE_S * 100);
        usleep(10000);
    }
    assert_true(turns_push(turns, one, true));
}

/* says: a login that waits when the ban comes; lifted: before the client is told of it. */
static void login_across_a_ban(const char *says, bool lifted, const char *hears)
{
    struct world *w = world_of_one_user();
    struct clients *c = w->shared->clients;
    const struct clients_key me = this_machine();
    struct gate hasher, last, loop;
    struct line l = submission(w);
    const int64_t failed = metric_get(M_AUTH_FAILED), refused = metric_get(M_REFUSED_BANNED);
    hold_hasher(&hasher, w);
    say(&l, says);
    until_it_waits(w);
    clients_ban(c, &me, 60000, SLICE_LIT("test"), mono_now());
    hold_loop(&loop, w);
    let_go(&hasher);
    hold_hasher(&last, w); /* what waited has been passed over */
    if (lifted)
        assert_true(clients_allow(c, &me, mono_now()));
    let_go(&last);
    let_go(&loop);
    gate_gone(&hasher);
    gate_gone(&last);
    hear(&l, hears);
    assert_int_equal(metric_get(M_AUTH_FAILED), failed);
    assert_int_equal(metric_get(M_REFUSED_BANNED) - refused, !lifted);
    if (lifted)
        talk(&l, RIGHT, "235 "); /* and the session is as it was */
    else
        hear_end(&l);
    line_end(&l);
    all_sessions_end(w);
    world_free(w);
}

static void told_that_it_is_banned(void **state)
{
    (void)state;
    login_across_a_ban(RIGHT, false, "421 4.7.0 too many failed logins from your address");
    login_across_a_ban(WRONG, false, "421 4.7.0 too many failed logins from your address");
}

/* Neither right nor wrong: trouble of ours, and no word about the password. */
static void told_to_try_again(void **state)
{
    (void)state;
    login_across_a_ban(RIGHT, true, "454 4.7.0 Temporary authentication failure, try again later");
    login_across_a_ban(WRONG, true, "454 4.7.0 Temporary authentication failure, try again later");
}

/* A ban that was lifted before the hasher came to the password never was. */
static void lifted_in_time(void **state)
{
    (void)state;
    struct world *w = world_of_one_user();
    const struct clients_key me = this_machine();
    struct gate hasher;
    struct line l = submission(w);
    hold_hasher(&hasher, w);
    say(&l, RIGHT);
    until_it_waits(w);
    clients_ban(w->shared->clients, &me, 60000, SLICE_LIT("test"), mono_now());
    assert_true(clients_allow(w->shared->clients, &me, mono_now()));
    let_go(&hasher);
    gate_gone(&hasher);
    hear(&l, "235 ");
    line_end(&l);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(told_that_it_is_banned),
        cmocka_unit_test(told_to_try_again),
        cmocka_unit_test(lifted_in_time),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    SSL_CTX_free(client_ctx());
    return failed;
}
