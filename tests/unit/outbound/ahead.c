/* One job ahead of the answer to another's dot: when the spooler is asked for it, what is said, and
 * what becomes of it when the other one goes wrong. What breaks for a user when one fails: mail
 * bounced or doubled because of another message's fate, or held by a slow one. */
#include "tests/unit/outbound/world.h"

#define BODY "Subject: x\r\n\r\nhello\r\n"
#define PIPELINING "250 PIPELINING\r\n"

/* Longer than who answers at once. */
static void think(void)
{
    usleep(20 * 1000);
}

static void hear_envelope(int fd)
{
    hear(fd, "MAIL FROM:<s@relay.test>");
    hear(fd, "RCPT TO:<r0@d.test>");
    hear(fd, "DATA");
}

static void take_envelope(int fd)
{
    say(fd, "250 ok\r\n250 ok\r\n354 go\r\n");
    hear_content(fd);
}

static void told_done(struct world *w, uint64_t message, enum verdict_kind kind, bool ready)
{
    struct spooler_result *r = told_result(w);
    assert_int_equal(r->message_id, message);
    assert_true(r->attempted);
    assert_int_equal(r->verdicts[0].kind, kind);
    assert_int_equal(r->ready, ready);
    spooler_result_free(r);
}

static void told_untouched(struct world *w, uint64_t message)
{
    struct spooler_result *r = told_result(w);
    assert_int_equal(r->message_id, message);
    assert_false(r->attempted);
    assert_int_equal(r->n, 1);
    assert_int_equal(r->rcpts[0], 0);
    spooler_result_free(r);
}

static void told_ahead(struct world *w)
{
    struct spooler_ahead *a = told(w, SPOOLER_AHEAD);
    assert_int_equal(a->conn, CONN);
    free(a);
}

/* Its first message done after a while, the second one's dot is out, and the spooler is asked. */
static int two(struct world *w, const char *keywords)
{
    order(w, opening(work(1, BODY, 1), plan_of(w, 1)));
    int fd = receive_offering(w, 0, keywords);
    hear_envelope(fd);
    take_envelope(fd);
    think();
    say(fd, "250 ok\r\n");
    told_done(w, 1, VERDICT_DELIVERED, true);
    order(w, work(2, BODY, 1));
    hear_envelope(fd);
    take_envelope(fd);
    return fd;
}

/* … and its third goes ahead. */
static int three(struct world *w)
{
    int fd = two(w, PIPELINING);
    told_ahead(w);
    order(w, work(3, BODY, 1));
    hear_envelope(fd);
    return fd;
}

static void a_round_trip_each(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    int fd = three(w);
    for (uint64_t done = 2; done < 6; done++) {
        think();
        say(fd, "250 ok\r\n");
        told_done(w, done, VERDICT_DELIVERED, true);
        take_envelope(fd);
        told_ahead(w);
        order(w, work(done + 2, BODY, 1));
        hear_envelope(fd);
    }
    close(fd);
    struct spooler_result *r = told_result(w);
    assert_int_equal(r->verdicts[0].fault, FAULT_CONN_LOST_EOD);
    assert_true(r->attempt.reused);
    spooler_result_free(r);
    told_untouched(w, 7);
    told_gone(w);
    world_free(w);
}

/* The fate of the one in front is its own. */
static void the_other_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *reply;
        enum verdict_kind kind;
    } cases[] = {{"554 5.7.1 spam\r\n", VERDICT_FAILED}, {"451 4.3.0 later\r\n", VERDICT_DEFERRED}};
    for (unsigned i = 0; i < 2; i++) {
        struct world *w = world_new(1, "");
        int fd = three(w);
        think();
        say(fd, cases[i].reply);
        told_done(w, 2, cases[i].kind, true);
        take_envelope(fd);
        say(fd, "250 ok\r\n");
        told_ahead(w);
        told_done(w, 3, VERDICT_DELIVERED, true);
        close(fd);
        told_gone(w);
        world_free(w);
    }
}

/* 57, 59: whoever ends the session with the dot in front has decided nothing of what is behind it.
 */
static void the_session_ends(void **state)
{
    (void)state;
    static const char *const says[] = {NULL, "421 4.3.2 down\r\n", "what?\r\n"};
    for (unsigned i = 0; i < 3; i++) {
        struct world *w = world_new(1, "");
        int fd = three(w);
        if (says[i])
            say(fd, says[i]);
        close(fd);
        told_done(w, 2, VERDICT_DEFERRED, false);
        told_untouched(w, 3);
        told_gone(w);
        told_nothing(w);
        world_free(w);
    }
}

/* A limit of messages a session, told when the next MAIL is there: no attempt of that one. */
static void enough_for_one_session(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    int fd = three(w);
    say(fd, "250 ok\r\n421 4.7.0 enough\r\n");
    close(fd);
    told_done(w, 2, VERDICT_DELIVERED, true);
    told_untouched(w, 3);
    told_gone(w);
    world_free(w);
}

/* 62 */
static void nobody_is_taken(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    int fd = three(w);
    think();
    say(fd, "250 ok\r\n250 ok\r\n550 5.1.1 no\r\n354 go\r\n");
    told_done(w, 2, VERDICT_DELIVERED, true);
    hear(fd, ".\r\n");
    say(fd, "250 ok\r\n");
    told_done(w, 3, VERDICT_FAILED, true);
    close(fd);
    told_gone(w);
    world_free(w);
}

/* Who takes long to answer keeps the other one from nobody: it goes back, and the session ends
 * behind the answer. The next session to there asks for nothing ahead. */
static void a_slow_answer(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    w->out->ahead_patience_ms = 300;
    int fd = three(w);
    told_untouched(w, 3);
    told_nothing(w);
    say(fd, "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    told_done(w, 2, VERDICT_DELIVERED, false);
    told_gone(w);
    hear_end(fd); /* neither a dot nor QUIT, where content is expected */
    close(fd);
    fd = two(w, PIPELINING);
    told_nothing(w);
    close(fd);
    told_done(w, 2, VERDICT_DEFERRED, false);
    told_gone(w);
    world_free(w);
}

/* The answer crossed the job on its way here: an ordinary one. */
static void it_comes_late(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    int fd = two(w, PIPELINING);
    told_ahead(w);
    think();
    say(fd, "250 ok\r\n");
    told_done(w, 2, VERDICT_DELIVERED, true);
    order(w, work(3, BODY, 1));
    hear_envelope(fd);
    take_envelope(fd);
    told_ahead(w);
    close(fd);
    told_done(w, 3, VERDICT_DEFERRED, false);
    told_gone(w);
    world_free(w);
}

/* Half an answer is here: nothing can go in front of it, and the job waits for the rest. */
static void half_an_answer(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    int fd = two(w, PIPELINING);
    told_ahead(w);
    say(fd, "250 o");
    think();
    order(w, work(3, BODY, 1));
    told_nothing(w);
    say(fd, "k\r\n");
    told_done(w, 2, VERDICT_DELIVERED, true);
    hear_envelope(fd);
    take_envelope(fd);
    told_ahead(w); /* the next time it would do */
    say(fd, "250 ok\r\n");
    told_done(w, 3, VERDICT_DELIVERED, true);
    close(fd);
    told_gone(w);
    world_free(w);
}

/* Mail that must have more than this session offers does not go ahead, and ends nothing before its
 * turn. */
static void it_does_not_suit(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    int fd = two(w, PIPELINING);
    told_ahead(w);
    struct out_work *k = work(3, BODY, 1);
    k->params.requiretls = true;
    order(w, k);
    told_nothing(w);
    say(fd, "250 ok\r\n");
    told_done(w, 2, VERDICT_DELIVERED, true);
    hear(fd, "QUIT");
    told_untouched(w, 3);
    told_gone(w);
    close(fd);
    world_free(w);
}

/* One that answers at once has nothing to gain, one without PIPELINING cannot, and one with
 * CHUNKING needs one round trip as it is. */
static void not_where_it_does_not_pay(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    order(w, opening(work(1, BODY, 1), plan_of(w, 1)));
    int fd = receive_ready(w, 0);
    for (uint64_t i = 1; i < 4; i++) {
        take_message(fd, "");
        think();
        say(fd, "250 ok\r\n");
        told_done(w, i, VERDICT_DELIVERED, true);
        if (i < 3)
            order(w, work(i + 1, BODY, 1));
    }
    close(fd);
    told_gone(w);
    order(w, opening(work(1, BODY, 1), plan_of(w, 1)));
    fd = receive_offering(w, 0, "250-PIPELINING\r\n250 CHUNKING\r\n");
    for (uint64_t i = 1; i < 4; i++) {
        hear(fd, "MAIL");
        hear(fd, "RCPT");
        hear(fd, "BDAT 21 LAST");
        hear(fd, "Subject");
        hear(fd, "\r\n");
        hear(fd, "hello");
        think();
        say(fd, "250 ok\r\n250 ok\r\n250 ok\r\n");
        told_done(w, i, VERDICT_DELIVERED, true);
        if (i < 3)
            order(w, work(i + 1, BODY, 1));
    }
    close(fd);
    told_gone(w);
    world_free(w);
}

/* A reload: the one ahead is the session's last. */
static void reload(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    struct conf *fresh = conf_of(w, "");
    int fd = three(w);
    outbound_reconfigure(w->out, fresh);
    say(fd, "250 ok\r\n");
    told_done(w, 2, VERDICT_DELIVERED, true);
    take_envelope(fd);
    say(fd, "250 ok\r\n");
    told_done(w, 3, VERDICT_DELIVERED, false);
    hear(fd, "QUIT");
    told_gone(w);
    close(fd);
    conf_unref(fresh);
    world_free(w);
}

/* The house ends with both there. */
static void the_room_is_freed(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    int fd = three(w);
    world_free(w);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_round_trip_each),
        cmocka_unit_test(the_other_is_refused),
        cmocka_unit_test(the_session_ends),
        cmocka_unit_test(enough_for_one_session),
        cmocka_unit_test(nobody_is_taken),
        cmocka_unit_test(a_slow_answer),
        cmocka_unit_test(it_comes_late),
        cmocka_unit_test(half_an_answer),
        cmocka_unit_test(it_does_not_suit),
        cmocka_unit_test(not_where_it_does_not_pay),
        cmocka_unit_test(reload),
        cmocka_unit_test(the_room_is_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
