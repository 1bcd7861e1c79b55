/* One connection, one job: each order is answered once, whatever the receivers do. */
#include "tests/unit/outbound/world.h"

#define BODY "Subject: x\r\n\r\nhello\r\n"

/* What the job ended as, and that the connection ended after it. */
static void expect(struct world *w, enum verdict_kind kind, enum phase phase, enum fault fault,
                   uint16_t code)
{
    struct spooler_result *r = told_result(w);
    assert_true(r->attempted);
    assert_false(r->ready);
    assert_int_equal(r->message_id, 1);
    assert_int_equal(r->n, 1);
    assert_int_equal(r->verdicts[0].kind, kind);
    assert_int_equal(r->verdicts[0].phase, phase);
    assert_int_equal(r->verdicts[0].fault, fault);
    assert_int_equal(r->verdicts[0].code, code);
    assert_string_equal(buf_str(&r->attempt.mx_host), "h0.test");
    assert_string_equal(buf_str(&r->attempt.mx_ip), "127.0.0.1");
    assert_int_equal(r->attempt.mx_port, w->port ? w->port : 9);
    spooler_result_free(r);
    told_gone(w);
    told_nothing(w);
}

static void delivered_and_kept(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    order(w, opening(work(1, BODY, 1), plan_of(w, 1)));
    int fd = receive_ready(w, 0);
    take_message(fd, "250 2.0.0 got it\r\n");
    for (uint64_t message = 1; message <= 3; message++) {
        struct spooler_result *r = told_result(w);
        assert_true(r->ready && r->attempted);
        assert_int_equal(r->message_id, message);
        assert_int_equal(r->verdicts[0].kind, VERDICT_DELIVERED);
        assert_int_equal(r->attempt.reused, message > 1);
        assert_string_equal(r->attempt.tls_policy, "may");
        spooler_result_free(r);
        if (message == 3)
            break;
        order(w, work(message + 1, BODY, 1));
        take_message(fd, "250 2.0.0 got it\r\n");
    }
    order_close(w);
    hear(fd, "QUIT");
    say(fd, "221 bye\r\n");
    hear_end(fd);
    told_gone(w);
    told_nothing(w);
    close(fd);
    world_free(w);
}

static void refused(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    order(w, opening(work(1, BODY, 1), plan_of(w, 1)));
    struct spooler_result *r = told_result(w);
    assert_null(r->attempt.tls_policy); /* never got so far */
    assert_int_equal(r->verdicts[0].fault, FAULT_CONNECT_REFUSED);
    assert_string_equal(buf_str(&r->attempt.mx_ip), "127.0.0.1"); /* who refused */
    spooler_result_free(r);
    told_gone(w);
    world_free(w);
}

static void plan_without_hosts(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    order(w, opening(work(1, BODY, 3), plan_of(w, 0)));
    struct spooler_result *r = told_result(w);
    assert_int_equal(r->n, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(r->verdicts[i].kind, VERDICT_DEFERRED);
    spooler_result_free(r);
    told_gone(w);
    world_free(w);
}

/* The receiver says its lines one after the other, hearing one line before each but the first; then
 * it closes, or resets. */
static const struct {
    const char *says[8];
    enum verdict_kind kind;
    enum phase phase;
    enum fault fault;
    uint16_t code;
} ends[] = {
    {{NULL}, VERDICT_DEFERRED, PHASE_BANNER, FAULT_CONN_LOST, 0},
    {{"421 later\r\n"}, VERDICT_DEFERRED, PHASE_BANNER, FAULT_NONE, 421},
    {{"554 no\r\n", ""}, VERDICT_DEFERRED, PHASE_BANNER, FAULT_NONE, 554},
    {{"SSH-2.0-x\r\n"}, VERDICT_DEFERRED, PHASE_BANNER, FAULT_SMTP_PROTOCOL, 0},
    {{"220 hi\r\n"}, VERDICT_DEFERRED, PHASE_EHLO, FAULT_CONN_LOST, 0},
    {{"220 hi\r\n", "421 no\r\n"}, VERDICT_DEFERRED, PHASE_EHLO, FAULT_NONE, 421},
    {{"220 hi\r\n", "502 what\r\n", "502 what\r\n", ""},
     VERDICT_DEFERRED,
     PHASE_EHLO,
     FAULT_NONE,
     502},
    {{"220 hi\r\n", "250 x\r\n"}, VERDICT_DEFERRED, PHASE_MAIL, FAULT_CONN_LOST, 0},
    {{"220 hi\r\n", "250 x\r\n", "421 4.3.2 down\r\n"},
     VERDICT_DEFERRED,
     PHASE_MAIL,
     FAULT_NONE,
     421},
    {{"220 hi\r\n", "250 x\r\n", "250 ok\r\n"}, VERDICT_DEFERRED, PHASE_RCPT, FAULT_CONN_LOST, 0},
    {{"220 hi\r\n", "250 x\r\n", "250 ok\r\n", "250 ok\r\n"},
     VERDICT_DEFERRED,
     PHASE_DATA,
     FAULT_CONN_LOST,
     0},
    {{"220 hi\r\n", "250 x\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n"},
     VERDICT_DEFERRED,
     PHASE_EOD,
     FAULT_CONN_LOST_EOD,
     0},
};

static void receiver_ends_anywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * sizeof ends / sizeof *ends; i++) {
        size_t k = i / 2;
        struct world *w = world_new(1, "");
        order(w, opening(work(1, BODY, 1), plan_of(w, 1)));
        int fd = receive(w, 0);
        char heard[1100];
        for (unsigned line = 0; ends[k].says[line]; line++) {
            if (line > 0)
                hear_line(fd, heard);
            say(fd, ends[k].says[line]);
        }
        bool cut = i % 2 && k > 0 && !ends[k].code && ends[k].fault != FAULT_SMTP_PROTOCOL;
        if (ends[k].phase == PHASE_EOD)
            hear_content(fd);
        else if (cut) /* its last words must not be overtaken by the reset */
            hear_line(fd, heard);
        hang_up(fd, cut);
        expect(w, ends[k].kind, ends[k].phase, ends[k].fault, ends[k].code);
        world_free(w);
    }
}

static void recipients_of_different_fate(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    order(w, opening(work(1, BODY, 3), plan_of(w, 1)));
    int fd = receive_ready(w, 0);
    hear(fd, "MAIL");
    say(fd, "250 ok\r\n");
    hear(fd, "RCPT TO:<r0@");
    say(fd, "550 5.1.1 who\r\n");
    hear(fd, "RCPT TO:<r1@");
    say(fd, "250 ok\r\n");
    hear(fd, "RCPT TO:<r2@");
    say(fd, "450 4.2.0 later\r\n");
    hear(fd, "DATA");
    say(fd, "354 go\r\n");
    assert_int_equal(hear_content(fd), strlen(BODY));
    say(fd, "250 ok\r\n");
    struct spooler_result *r = told_result(w);
    assert_int_equal(r->verdicts[0].kind, VERDICT_FAILED);
    assert_int_equal(r->verdicts[1].kind, VERDICT_DELIVERED);
    assert_int_equal(r->verdicts[2].kind, VERDICT_DEFERRED);
    spooler_result_free(r);
    close(fd);
    told_gone(w);
    told_nothing(w);
    world_free(w);
}

/* The loop may end at any step: nothing is freed twice, nothing stays. */
static void daemon_ends_in_the_middle(void **state)
{
    (void)state;
    for (unsigned step = 0; step < 6; step++) {
        struct world *w = world_new(1, "");
        order(w, opening(work(1, step == 5 ? NULL : BODY, 1), plan_of(w, 1)));
        int fd = step > 0 ? receive(w, 0) : -1;
        if (step > 1)
            say(fd, "220 hi\r\n"), hear(fd, "EHLO");
        if (step > 2)
            say(fd, "250 hi\r\n"), hear(fd, "MAIL");
        if (step > 3)
            say(fd, "250 hi\r\n"), hear(fd, "RCPT");
        world_free(w);
        if (fd >= 0)
            close(fd);
    }
}

/* A question to a name server that never answers is open when the daemon ends: its answer has
 * nobody to go to. */
static void daemon_ends_in_a_look_up(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    order_resolve(w);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delivered_and_kept),           cmocka_unit_test(refused),
        cmocka_unit_test(plan_without_hosts),           cmocka_unit_test(receiver_ends_anywhere),
        cmocka_unit_test(recipients_of_different_fate), cmocka_unit_test(daemon_ends_in_the_middle),
        cmocka_unit_test(daemon_ends_in_a_look_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
