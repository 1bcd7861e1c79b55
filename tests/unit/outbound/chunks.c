/* A receiver offers CHUNKING and is no good at it: its mail goes by DATA, at once and from then on.
 * If this breaks, such receivers get no mail, or get it twice; others pay a round trip more. */
#include "tests/unit/outbound/world.h"

#define BODY "Subject: x\r\n\r\n.hello\r\n"
#define OFFERS "250-PIPELINING\r\n250 CHUNKING\r\n"

/* The whole message is heard before a word is said. */
static void hear_message(int fd)
{
    hear(fd, "MAIL FROM:<s@relay.test>\r\n");
    hear(fd, "RCPT TO:<r0@d.test>\r\n");
    hear(fd, "BDAT 22 LAST\r\n");
    hear(fd, "Subject: x\r\n");
    hear(fd, "\r\n");
    hear(fd, ".hello\r\n");
}

static void take_by_data(int fd)
{
    hear(fd, "MAIL FROM:<s@relay.test>\r\n");
    hear(fd, "RCPT TO:<r0@d.test>\r\n");
    hear(fd, "DATA\r\n");
    say(fd, "250 ok\r\n250 ok\r\n354 go\r\n");
    assert_int_equal(hear_content(fd), strlen(BODY));
    say(fd, "250 ok\r\n");
}

static void expect_delivered(struct world *w)
{
    struct spooler_result *r = told_result(w);
    assert_int_equal(r->verdicts[0].kind, VERDICT_DELIVERED);
    assert_true(r->ready);
    spooler_result_free(r);
}

static void expect_deferred(struct world *w, enum fault f)
{
    struct spooler_result *r = told_result(w);
    assert_int_equal(r->verdicts[0].kind, VERDICT_DEFERRED);
    assert_int_equal(r->verdicts[0].fault, f);
    spooler_result_free(r);
    told_gone(w);
}

static void one_round_trip_each(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    order(w, opening(work(1, BODY, 1), plan_of(w, 1)));
    int fd = receive_offering(w, 0, OFFERS);
    for (unsigned i = 1; i <= 3; i++) {
        if (i > 1)
            order(w, work(i, BODY, 1));
        hear_message(fd);
        say(fd, "250 ok\r\n250 ok\r\n250 ok\r\n");
        expect_delivered(w);
    }
    close(fd);
    told_gone(w);
    world_free(w);
}

/* What is said instead of "taken", and what is known from then on. */
static void not_understood(void **state)
{
    (void)state;
    static const char *const says[] = {"500 5.5.1 what\r\n", "502 5.5.1 no\r\n",
                                       "503 5.5.1 bad sequence\r\n"};
    for (size_t i = 0; i < sizeof says / sizeof *says; i++) {
        struct world *w = world_new(2, "");
        order(w, opening(work(1, BODY, 1), plan_of(w, 2)));
        int fd = receive_offering(w, 0, OFFERS);
        hear_message(fd);
        say(fd, "250 ok\r\n250 ok\r\n");
        say(fd, says[i]);
        hear_end(fd);
        close(fd);
        for (unsigned k = 0; k < 2; k++) {
            fd = receive_offering(w, 0, OFFERS);
            take_by_data(fd);
            expect_delivered(w);
            close(fd);
            told_gone(w);
            if (k == 0)
                order(w, opening(work(2, BODY, 1), plan_of(w, 2)));
        }
        nobody_calls(w, 1);
        world_free(w);
    }
}

/* On a connection that is kept, too: the job goes back untouched. */
static void no_more_understood(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    order(w, opening(work(1, BODY, 1), plan_of(w, 1)));
    int fd = receive_offering(w, 0, OFFERS);
    hear_message(fd);
    say(fd, "250 ok\r\n250 ok\r\n250 ok\r\n");
    expect_delivered(w);
    order(w, work(2, BODY, 1));
    hear_message(fd);
    say(fd, "250 ok\r\n250 ok\r\n502 no more\r\n");
    struct spooler_result *r = told_result(w);
    assert_false(r->attempted);
    spooler_result_free(r);
    hear_end(fd);
    close(fd);
    told_gone(w);
    order(w, opening(work(2, BODY, 1), plan_of(w, 1)));
    fd = receive_offering(w, 0, OFFERS);
    take_by_data(fd);
    expect_delivered(w);
    close(fd);
    told_gone(w);
    world_free(w);
}

/* 59: the message may be there, so it waits; perhaps chunks were the reason. Other hosts go on with
 * them. */
static void no_end(void **state)
{
    (void)state;
    struct world *w = world_new(2, "");
    order(w, opening(work(1, BODY, 1), plan_of(w, 2)));
    int fd = receive_offering(w, 0, OFFERS);
    hear_message(fd);
    close(fd);
    nobody_calls(w, 1);
    expect_deferred(w, FAULT_CONN_LOST_EOD);

    order(w, opening(work(1, BODY, 1), plan_of(w, 2)));
    fd = receive_offering(w, 0, OFFERS);
    take_by_data(fd);
    expect_delivered(w);
    close(fd);
    told_gone(w);

    order(w, opening(work(2, BODY, 1), plan_of(w, 2)));
    close(receive(w, 0));
    fd = receive_offering(w, 1, OFFERS);
    hear_message(fd);
    say(fd, "250 ok\r\n250 ok\r\n250 ok\r\n");
    expect_delivered(w);
    close(fd);
    told_gone(w);
    world_free(w);
}

/* --- much content */

enum { PIECE = 65536, LARGE = 200000, HUGE_SIZE = 2000000 };

static struct out_work *large(uint64_t message, size_t size)
{
    struct out_work *k = work(message, NULL, 1);
    k->size = size;
    k->body = body_new(size);
    for (size_t i = 0; i < size; i++)
        k->body->bytes[i] = (uint8_t)("x.\r\n"[i % 64 < 62 ? i % 2 : i % 64 - 60]);
    return k;
}

static void hear_envelope(int fd)
{
    hear(fd, "MAIL FROM:<s@relay.test>\r\n");
    hear(fd, "RCPT TO:<r0@d.test>\r\n");
}

/* One chunk of n octets; whether it was the last. */
static bool hear_chunk(int fd, size_t n)
{
    char line[1100], octets[4096];
    char *end;
    hear_line(fd, line);
    assert_int_equal(strncmp(line, "BDAT ", 5), 0);
    assert_int_equal(strtoul(line + 5, &end, 10), n);
    while (n > 0) {
        ssize_t got = recv(fd, octets, n < sizeof octets ? n : sizeof octets, 0);
        assert_true(got > 0);
        n -= (size_t)got;
    }
    return strcmp(end, " LAST\r\n") == 0;
}

/* Not a word is said before all of it is there. */
static void in_one_flight(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    order(w, opening(large(1, LARGE), plan_of(w, 1)));
    int fd = receive_offering(w, 0, OFFERS);
    for (unsigned i = 1; i <= 2; i++) {
        if (i > 1)
            order(w, large(i, LARGE));
        hear_envelope(fd);
        for (unsigned k = 0; k < LARGE / PIECE; k++)
            assert_false(hear_chunk(fd, PIECE));
        assert_true(hear_chunk(fd, LARGE % PIECE + (LARGE % 64 ? 2 : 0)));
        say(fd, "250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n");
        expect_delivered(w);
    }
    close(fd);
    told_gone(w);
    world_free(w);
}

/* 62: where nobody may be taken a part of it waits, and none follows when nobody is. The connection
 * is as good as before. */
static void for_nobody(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    order(w, opening(large(1, HUGE_SIZE), plan_of(w, 1)));
    int fd = receive_offering(w, 0, OFFERS);
    hear_envelope(fd);
    for (unsigned k = 0; k < 4; k++)
        assert_false(hear_chunk(fd, PIECE));
    struct pollfd more = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&more, 1, 50), 0);
    say(fd, "250 ok\r\n550 5.1.1 nobody\r\n");
    say(fd, "503 no recipients\r\n503 no\r\n503 no\r\n503 no\r\n");
    struct spooler_result *r = told_result(w);
    assert_int_equal(r->verdicts[0].kind, VERDICT_FAILED);
    assert_int_equal(r->verdicts[0].code, 550);
    assert_true(r->ready);
    spooler_result_free(r);
    order(w, work(2, BODY, 1));
    answer(fd, "RSET\r\n", "250 ok\r\n");
    hear_message(fd);
    say(fd, "250 ok\r\n250 ok\r\n250 ok\r\n");
    expect_delivered(w);
    close(fd);
    told_gone(w);
    world_free(w);
}

/* It dies of chunks before it has answered anything: the next message goes by DATA. */
static void no_end_of_much(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    order(w, opening(large(1, HUGE_SIZE), plan_of(w, 1)));
    int fd = receive_offering(w, 0, OFFERS);
    hear_envelope(fd);
    assert_false(hear_chunk(fd, PIECE));
    hang_up(fd, true);
    expect_deferred(w, FAULT_CONN_LOST);
    order(w, opening(work(2, BODY, 1), plan_of(w, 1)));
    fd = receive_offering(w, 0, OFFERS);
    take_by_data(fd);
    expect_delivered(w);
    close(fd);
    told_gone(w);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_round_trip_each), cmocka_unit_test(not_understood),
        cmocka_unit_test(no_more_understood),  cmocka_unit_test(no_end),
        cmocka_unit_test(in_one_flight),       cmocka_unit_test(for_nobody),
        cmocka_unit_test(no_end_of_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
