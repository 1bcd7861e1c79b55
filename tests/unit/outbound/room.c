/* How many recipients a host takes at a time (checklist 18, 66; RFC 9422). If this breaks,
 * recipients are forgotten, or lose an attempt for nothing. */
#include "tests/unit/outbound/world.h"

#define BODY "Subject: x\r\n\r\nhello\r\n"

static void transaction(int fd, unsigned from, unsigned n, const char *reply)
{
    char line[64];
    answer(fd, "MAIL FROM:<s@relay.test>\r\n", "250 ok\r\n");
    for (unsigned i = from; i < from + n; i++) {
        snprintf(line, sizeof line, "RCPT TO:<r%u@d.test>\r\n", i);
        answer(fd, line, i == 3 ? "550 5.1.1 no\r\n" : "250 ok\r\n");
    }
    answer(fd, "DATA\r\n", "354 go\r\n");
    assert_int_equal(hear_content(fd), strlen(BODY));
    say(fd, reply);
}

static void transaction_of(int fd, const char *address)
{
    char line[64];
    snprintf(line, sizeof line, "RCPT TO:<%s>\r\n", address);
    answer(fd, "MAIL FROM", "250 ok\r\n");
    answer(fd, line, "250 ok\r\n");
    answer(fd, "DATA", "354 go\r\n");
    hear_content(fd);
    say(fd, "250 ok\r\n");
}

/* RFC 9422: five recipients for a host that takes two at a time, in three transactions, one
 * attempt. */
static void few_recipients_at_a_time(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    order(w, opening(work(1, BODY, 5), plan_of(w, 1)));
    int fd = receive_offering(w, 0, "250 LIMITS RCPTMAX=2\r\n");
    transaction(fd, 0, 2, "250 ok\r\n");
    transaction(fd, 2, 2, "451 4.3.0 later\r\n");
    transaction(fd, 4, 1, "250 ok\r\n");
    struct spooler_result *r = told_result(w);
    static const enum verdict_kind kinds[] = {VERDICT_DELIVERED, VERDICT_DELIVERED,
                                              VERDICT_DEFERRED, VERDICT_FAILED, VERDICT_DELIVERED};
    assert_int_equal(r->n, 5);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(r->verdicts[i].kind, kinds[i]);
    assert_true(r->ready && !r->attempt.reused);
    spooler_result_free(r);
    close(fd);
    told_gone(w);
    world_free(w);
}

/* The connection ends between two of them: what was delivered stays so. For the rest it was no
 * attempt: they go on at once, on another connection. */
static void few_recipients_and_then_none(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 2; how++) {
        struct world *w = world_new(2, "");
        order(w, opening(work(1, BODY, 3), plan_of(w, 2)));
        int fd = receive_offering(
            w, 0, how ? "250 LIMITS RCPTMAX=1 MAILMAX=2\r\n" : "250 LIMITS RCPTMAX=1\r\n");
        transaction(fd, 0, 1, "250 ok\r\n");
        if (how) {
            transaction(fd, 1, 1, "250 ok\r\n");
            hear(fd, "QUIT\r\n");
        }
        close(fd);
        struct spooler_result *r = told_result(w);
        assert_false(r->ready);
        assert_int_equal(r->n, 3);
        assert_int_equal(r->verdicts[0].kind, VERDICT_DELIVERED);
        assert_int_equal(r->verdicts[1].kind, how ? VERDICT_DELIVERED : VERDICT_NONE);
        assert_int_equal(r->verdicts[2].kind, VERDICT_NONE);
        spooler_result_free(r);
        told_gone(w);
        nobody_calls(w, 1);
        world_free(w);
    }
}

/* 66: a transaction that is full is ended, and the others go in the next one, on this connection.
 * Without anybody taken, or with another reason, 452 is what it says. */
static void full_transaction(void **state)
{
    (void)state;
    static const struct {
        const char *replies[3];
        bool again;
        uint16_t code; /* of the one that is refused; 0: taken in the end */
    } cases[] = {
        {{"250 ok", "452 4.5.3 too many recipients", "452 4.5.3 too many recipients"}, true, 0},
        {{"250 ok", "452 too many recipients", "452 Too Many Recipients"}, true, 0},
        {{"250 ok", "452 no", "452 no"}, true, 0},
        {{"250 ok", "552 5.5.3 too many", "552 5.5.3 too many"}, true, 0},
        {{"250 ok", "452 4.2.2 mailbox full", "452 4.2.2 mailbox full"}, false, 452},
        {{"250 ok", "452 4.3.1 disk full", "452 4.3.1 disk full"}, false, 452},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world *w = world_new(1, "");
        order(w, opening(work(1, BODY, 3), plan_of(w, 1)));
        int fd = receive_ready(w, 0);
        answer(fd, "MAIL FROM", "250 ok\r\n");
        for (unsigned k = 0; k < 3; k++) {
            char line[64];
            snprintf(line, sizeof line, "RCPT TO:<r%u@", k);
            hear(fd, line);
            say(fd, cases[i].replies[k]);
            say(fd, "\r\n");
        }
        answer(fd, "DATA", "354 go\r\n");
        hear_content(fd);
        say(fd, "250 ok\r\n");
        if (cases[i].again)
            transaction(fd, 1, 2, "250 ok\r\n");
        struct spooler_result *r = told_result(w);
        assert_true(r->ready);
        for (unsigned k = 0; k < 3; k++) {
            assert_int_equal(r->rcpts[k], k);
            assert_int_equal(r->verdicts[k].kind,
                             k > 0 && cases[i].code ? VERDICT_DEFERRED : VERDICT_DELIVERED);
            assert_int_equal(r->verdicts[k].code, k > 0 && cases[i].code ? cases[i].code : 250);
        }
        spooler_result_free(r);
        close(fd);
        told_gone(w);
        world_free(w);
    }
}

/* 66: who is refused for want of room although nobody was taken has no better turn coming. */
static void no_room_for_anybody(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    order(w, opening(work(1, BODY, 2), plan_of(w, 1)));
    int fd = receive_ready(w, 0);
    answer(fd, "MAIL FROM", "250 ok\r\n");
    for (unsigned k = 0; k < 2; k++)
        answer(fd, "RCPT TO:<", "452 4.5.3 too many recipients\r\n");
    struct spooler_result *r = told_result(w);
    for (unsigned k = 0; k < 2; k++)
        assert_int_equal(r->verdicts[k].code, 452);
    spooler_result_free(r);
    close(fd);
    told_gone(w);
    world_free(w);
}

static struct out_work *to_domains(uint64_t id, const char *const *addresses, unsigned n)
{
    struct out_work *k = work(id, BODY, n);
    for (unsigned i = 0; i < n; i++) {
        buf_done(&k->addresses[i]);
        k->addresses[i] = buf_of(slice_str(addresses[i]));
    }
    return k;
}

/* RFC 9422 section 4.3: a session is for so many domains; the others go with another one. */
static void few_domains(void **state)
{
    (void)state;
    static const char *const to[] = {"a@x.test", "b@y.test", "c@X.test", "d@z.test"};
    struct world *w = world_new(1, "");
    order(w, opening(to_domains(1, to, 4), plan_of(w, 1)));
    int fd = receive_offering(w, 0, "250 LIMITS RCPTDOMAINMAX=1\r\n");
    answer(fd, "MAIL FROM", "250 ok\r\n");
    answer(fd, "RCPT TO:<a@x.test>\r\n", "250 ok\r\n");
    answer(fd, "RCPT TO:<c@X.test>\r\n", "550 5.1.1 no\r\n");
    answer(fd, "DATA", "354 go\r\n");
    hear_content(fd);
    say(fd, "250 ok\r\n");
    leave(fd);
    struct spooler_result *r = told_result(w);
    static const uint32_t numbers[] = {0, 2, 1, 3};
    static const enum verdict_kind kinds[] = {VERDICT_DELIVERED, VERDICT_FAILED, VERDICT_NONE,
                                              VERDICT_NONE};
    assert_true(r->attempted && !r->ready);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(r->rcpts[i], numbers[i]);
        assert_int_equal(r->verdicts[i].kind, kinds[i]);
    }
    spooler_result_free(r);
    told_gone(w);

    /* A kept connection that is used up gives the next job back. */
    order(w, opening(to_domains(2, to, 1), plan_of(w, 1)));
    fd = receive_offering(w, 0, "250 LIMITS RCPTDOMAINMAX=1\r\n");
    transaction_of(fd, to[0]);
    r = told_result(w);
    assert_true(r->ready);
    spooler_result_free(r);
    order(w, to_domains(3, to + 1, 1));
    leave(fd);
    r = told_result(w);
    assert_false(r->attempted);
    spooler_result_free(r);
    told_gone(w);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_recipients_at_a_time),
        cmocka_unit_test(few_recipients_and_then_none),
        cmocka_unit_test(full_transaction),
        cmocka_unit_test(no_room_for_anybody),
        cmocka_unit_test(few_domains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
