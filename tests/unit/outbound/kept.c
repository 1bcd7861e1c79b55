/* A connection that is kept: what happens to the next job, and what races there are. */
#include "tests/unit/outbound/world.h"

#define BODY "Subject: x\r\n\r\nhello\r\n"

/* Ready for its second job. */
static int kept(struct world *w)
{
    order(w, opening(work(1, BODY, 1), plan_of(w, 1)));
    int fd = receive_ready(w, 0);
    take_message(fd, "250 ok\r\n");
    struct spooler_result *r = told_result(w);
    assert_true(r->ready);
    spooler_result_free(r);
    return fd;
}

/* The job comes back untouched, counted as no attempt, before the connection's end is told. */
static void expect_untouched(struct world *w)
{
    struct spooler_result *r = told_result(w);
    assert_false(r->attempted);
    assert_false(r->ready);
    assert_int_equal(r->message_id, 2);
    assert_int_equal(r->n, 1);
    assert_int_equal(r->rcpts[0], 0);
    spooler_result_free(r);
    told_gone(w);
    told_nothing(w);
}

static void closed_meanwhile(void **state)
{
    (void)state;
    for (unsigned reset = 0; reset < 2; reset++) {
        struct world *w = world_new(1, "");
        hang_up(kept(w), reset);
        told_gone(w);
        /* The order was on its way: it is for nobody, and nobody is told gone twice. */
        order(w, work(2, BODY, 1));
        struct spooler_result *r = told_result(w);
        assert_false(r->attempted);
        spooler_result_free(r);
        told_nothing(w);
        world_free(w);
    }
}

static void found_dead_at_mail(void **state)
{
    (void)state;
    static const char *const says[] = {NULL, "421 4.4.2 idle too long\r\n"};
    for (unsigned i = 0; i < 2; i++) {
        struct world *w = world_new(1, "");
        int fd = kept(w);
        order(w, work(2, BODY, 1));
        hear(fd, "MAIL");
        if (says[i])
            say(fd, says[i]);
        close(fd);
        expect_untouched(w);
        world_free(w);
    }
}

/* 68: a peer that has lost its place in the dialogue says so to MAIL, and bounces what it never
 * saw. On a fresh connection it means what it says. */
static void out_of_order_at_mail(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    int fd = kept(w);
    order(w, work(2, BODY, 1));
    hear(fd, "MAIL");
    say(fd, "503 5.5.1 nested MAIL command\r\n");
    hear(fd, "QUIT");
    expect_untouched(w);
    close(fd);
    order(w, opening(work(2, BODY, 1), plan_of(w, 1)));
    fd = receive_ready(w, 0);
    hear(fd, "MAIL");
    say(fd, "503 5.5.1 nested MAIL command\r\n");
    struct spooler_result *r = told_result(w);
    assert_true(r->attempted);
    assert_int_equal(r->verdicts[0].code, 503);
    spooler_result_free(r);
    order_close(w);
    told_gone(w);
    close(fd);
    world_free(w);
}

/* What it says later than at MAIL is about the mail. */
static void lost_after_mail(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    int fd = kept(w);
    order(w, work(2, BODY, 1));
    hear(fd, "MAIL");
    say(fd, "250 ok\r\n");
    hear(fd, "RCPT");
    close(fd);
    struct spooler_result *r = told_result(w);
    assert_true(r->attempted);
    assert_int_equal(r->verdicts[0].fault, FAULT_CONN_LOST);
    assert_true(r->attempt.reused);
    spooler_result_free(r);
    told_gone(w);
    world_free(w);
}

/* A byte that nobody asked for, and then nothing: no job may wait for the rest of that line. */
static void half_a_line_while_idle(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    int fd = kept(w);
    say(fd, "4");
    told_nothing(w);
    order(w, work(2, BODY, 1));
    expect_untouched(w);
    close(fd);
    world_free(w);
}

static void a_line_while_idle(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    int fd = kept(w);
    say(fd, "421 4.4.2 bye\r\n");
    told_gone(w);
    told_nothing(w);
    close(fd);
    world_free(w);
}

/* The spooler never sends work behind a close; if it did, nothing would be lost. */
static void work_behind_close(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    int fd = kept(w);
    order_close(w);
    order(w, work(2, BODY, 1));
    hear(fd, "QUIT");
    told_gone(w); /* with the word QUIT: nobody waits for its answer */
    struct spooler_result *r = told_result(w);
    assert_false(r->attempted);
    spooler_result_free(r);
    order_close(w); /* of one that is gone: nothing */
    told_nothing(w);
    close(fd);
    world_free(w);
}

/* 70: nobody waits for the answer to QUIT, so the place at the site is free at once: at one of some
 * times at least (the machine may be busy), where the end of all that was sent has five seconds. */
static void quit_without_answer(void **state)
{
    (void)state;
    bool quick = false;
    for (unsigned i = 0; i < 5 && !quick; i++) {
        struct world *w = world_new(1, "");
        int fd = kept(w);
        const struct mono begun = mono_now();
        order_close(w);
        hear(fd, "QUIT");
        told_gone(w);
        quick = mono_now().ms - begun.ms < 1000;
        told_nothing(w);
        close(fd);
        world_free(w);
    }
    assert_true(quick);
}

/* After a reload an idle connection ends, and one at work ends after its job: what it was made by
 * (TLS, name) is no longer in force. */
static void reload(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    struct conf *fresh = conf_of(w, "tls = encrypt");
    int fd = kept(w);
    outbound_reconfigure(w->out, fresh);
    hear(fd, "QUIT");
    say(fd, "221 bye\r\n");
    told_gone(w);
    close(fd);

    w->planned_by = fresh;
    order(w, opening(work(1, BODY, 1), plan_of(w, 1)));
    fd = receive(w, 0);
    say(fd, "220 hi\r\n");
    hear(fd, "EHLO");
    say(fd, "250 hi\r\n"); /* no STARTTLS: the new configuration does not go on in clear */
    hear(fd, "QUIT");
    struct spooler_result *r = told_result(w);
    assert_int_equal(r->verdicts[0].fault, FAULT_TLS_UNAVAILABLE);
    spooler_result_free(r);
    told_gone(w);
    close(fd);
    conf_unref(fresh);
    world_free(w);

    w = world_new(1, "");
    fresh = conf_of(w, "");
    order(w, opening(work(1, BODY, 1), plan_of(w, 1)));
    fd = receive_ready(w, 0);
    hear(fd, "MAIL");
    outbound_reconfigure(w->out, fresh);
    say(fd, "250 ok\r\n");
    hear(fd, "RCPT");
    say(fd, "250 ok\r\n");
    hear(fd, "DATA");
    say(fd, "354 ok\r\n");
    hear_content(fd);
    say(fd, "250 ok\r\n");
    r = told_result(w);
    assert_int_equal(r->verdicts[0].kind, VERDICT_DELIVERED);
    assert_false(r->ready);
    spooler_result_free(r);
    hear(fd, "QUIT");
    close(fd);
    told_gone(w);
    conf_unref(fresh);
    world_free(w);
}

/* An order that was on its way when the configuration changed: the hosts of the old one hear what
 * the old one says (name, TLS, credentials), and nothing of the new one; and the connection takes
 * this one job. */
static void an_order_by_the_old_configuration(void **state)
{
    (void)state;
    struct world *w = world_new(1, "helo = old.test");
    struct conf *fresh = conf_of(w, "helo = new.test tls = encrypt");
    outbound_reconfigure(w->out, fresh);
    order(w, opening(work(1, BODY, 1), plan_of(w, 1)));
    int fd = receive(w, 0);
    say(fd, "220 hi\r\n");
    hear(fd, "EHLO old.test\r\n");
    say(fd, "250 hi\r\n");
    take_message(fd, "250 ok\r\n");
    struct spooler_result *r = told_result(w);
    assert_int_equal(r->verdicts[0].kind, VERDICT_DELIVERED);
    assert_false(r->ready);
    spooler_result_free(r);
    told_gone(w);
    close(fd);
    conf_unref(fresh);
    world_free(w);
}

/* A plan keeps the configuration that it was made by: what the scheduler hands back to open a
 * connection with leads to the old relay, by the old name. */
static void a_plan_by_the_old_configuration(void **state)
{
    (void)state;
    struct world *w = world_new(2, "");
    struct conf *of[2];
    for (unsigned i = 0; i < 2; i++) {
        char text[200];
        snprintf(text, sizeof text,
                 "} destination \"e\" { domains = { \"e.test\" } relay = { \"127.0.0.%u:%u\" } "
                 "helo = of%u.test",
                 i + 1, w->port, i);
        of[i] = conf_of(w, text);
    }
    outbound_reconfigure(w->out, of[0]);
    order_resolve_now(w, "e.test");
    struct spooler_plan *a = told(w, SPOOLER_PLAN);
    assert_non_null(a->plan);
    outbound_reconfigure(w->out, of[1]);
    struct out_work *k = work(1, BODY, 1);
    k->open = true;
    k->plan = frozen_ref(a->plan);
    port_send(outbound_port(w->out), &k->msg);
    int fd = receive(w, 0);
    say(fd, "220 hi\r\n");
    hear(fd, "EHLO of0.test\r\n");
    say(fd, "250 hi\r\n");
    take_message(fd, "250 ok\r\n");
    spooler_result_free(told_result(w));
    told_gone(w);
    nobody_calls(w, 1);
    close(fd);
    spooler_request_free(&a->msg);
    conf_unref(of[0]);
    conf_unref(of[1]);
    world_free(w);
}

/* A reload does not answer for a name server: the question that is open stays open. */
static void reload_in_a_look_up(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    struct conf *fresh = conf_of(w, "tls = none");
    order_resolve(w);
    outbound_reconfigure(w->out, fresh);
    told_nothing(w);
    conf_unref(fresh);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closed_meanwhile),
        cmocka_unit_test(found_dead_at_mail),
        cmocka_unit_test(out_of_order_at_mail),
        cmocka_unit_test(lost_after_mail),
        cmocka_unit_test(half_a_line_while_idle),
        cmocka_unit_test(a_line_while_idle),
        cmocka_unit_test(work_behind_close),
        cmocka_unit_test(quit_without_answer),
        cmocka_unit_test(reload),
        cmocka_unit_test(an_order_by_the_old_configuration),
        cmocka_unit_test(a_plan_by_the_old_configuration),
        cmocka_unit_test(reload_in_a_look_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
