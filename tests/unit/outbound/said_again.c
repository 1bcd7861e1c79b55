/* "Later", said to mail that has waited already (checklist 58). What breaks for a user: mail
 * expires at a host that never takes it, beside one that would; a greylisted message starts anew at
 * a second host; a dead neighbour hides what the receiver has said. */
#include "tests/unit/outbound/world.h"

#define BODY "Subject: x\r\n\r\nhello\r\n"

/* The dialogue up to `phase`, whose answer is `words`. */
static int later_at(const struct world *w, unsigned host, enum phase phase, const char *words)
{
    int fd = receive_ready(w, host);
    answer(fd, "MAIL", phase == PHASE_MAIL ? words : "250 ok\r\n");
    if (phase == PHASE_MAIL)
        return fd;
    answer(fd, "RCPT", phase == PHASE_RCPT ? words : "250 ok\r\n");
    if (phase == PHASE_RCPT)
        return fd;
    answer(fd, "DATA", phase == PHASE_DATA ? words : "354 go\r\n");
    if (phase == PHASE_DATA)
        return fd;
    hear_content(fd);
    say(fd, words);
    return fd;
}

static struct out_work *second_attempt(unsigned n_rcpts)
{
    struct out_work *k = work(1, BODY, n_rcpts);
    k->attempt = 2;
    return k;
}

/* Whatever phase it was said in, one more host is asked, and what that one says counts. */
static void the_next_host_is_asked(void **state)
{
    (void)state;
    static const enum phase phases[] = {PHASE_MAIL, PHASE_RCPT, PHASE_DATA, PHASE_EOD};
    for (size_t i = 0; i < sizeof phases / sizeof *phases; i++) {
        struct world *w = world_new(2, "");
        order(w, opening(second_attempt(1), plan_of(w, 2)));
        leave(later_at(w, 0, phases[i], "451 4.6.0 milter is down\r\n"));
        int fd = receive_ready(w, 1);
        take_message(fd, "250 2.0.0 got it\r\n");
        struct spooler_result *r = told_result(w);
        assert_int_equal(r->verdicts[0].kind, VERDICT_DELIVERED);
        assert_string_equal(buf_str(&r->attempt.mx_host), "h1.test");
        assert_true(r->ready); /* and its connection is good for more */
        spooler_result_free(r);
        close(fd);
        told_gone(w);
        world_free(w);
    }
}

/* Who has what to say for himself stands where he said it, and nobody else is asked. */
static void it_stands(void **state)
{
    (void)state;
    static const struct {
        const char *what, *words;
        uint32_t attempt;
        unsigned rcpts;
        const char *more; /* the second recipient's */
    } rows[] = {
        {"the first attempt: greylisting wants to hear the same again", "450 4.7.1 greylisted\r\n",
         1, 1, NULL},
        {"for ever is for ever", "550 5.1.1 who\r\n", 2, 1, NULL},
        {"the whole site asks us to slow down", "451 4.7.1 too fast, try again later\r\n", 2, 1,
         NULL},
        {"each recipient has words of his own", "450 4.2.0 busy\r\n", 2, 2, "450 4.2.2 full\r\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct world *w = world_new(2, "");
        struct out_work *k = work(1, BODY, rows[i].rcpts);
        k->attempt = rows[i].attempt;
        order(w, opening(k, plan_of(w, 2)));
        int fd = receive_ready(w, 0);
        answer(fd, "MAIL", "250 ok\r\n");
        answer(fd, "RCPT", rows[i].words);
        if (rows[i].more)
            answer(fd, "RCPT", rows[i].more);
        struct spooler_result *r = told_result(w);
        if (strcmp(buf_str(&r->attempt.mx_host), "h0.test") != 0)
            fail_msg("%s: asked %s", rows[i].what, buf_str(&r->attempt.mx_host));
        spooler_result_free(r);
        close(fd);
        told_gone(w);
        world_free(w);
    }
}

/* Two are asked at one attempt, however many there are. */
static void not_everybody_is_asked(void **state)
{
    (void)state;
    struct world *w = world_new(3, "");
    order(w, opening(second_attempt(1), plan_of(w, 3)));
    leave(later_at(w, 0, PHASE_RCPT, "450 4.2.0 first\r\n"));
    int fd = later_at(w, 1, PHASE_RCPT, "450 4.2.0 second\r\n");
    struct spooler_result *r = told_result(w);
    assert_string_equal(r->verdicts[0].text, "second");
    assert_string_equal(buf_str(&r->attempt.mx_host), "h1.test");
    spooler_result_free(r);
    close(fd);
    told_gone(w);
    world_free(w);
}

/* The neighbour is dead, hangs up, or lacks what the mail needs: what was said of the mail is the
 * verdict, of the host that said it, and says nothing against the site. */
static void who_spoke_of_the_mail_counts(void **state)
{
    (void)state;
    enum { REFUSES, HANGS_UP, NEIGHBOURS };
    for (unsigned neighbour = 0; neighbour < NEIGHBOURS; neighbour++) {
        struct world *w = world_new(neighbour == REFUSES ? 1 : 2, "");
        order(w, opening(second_attempt(2), plan_of(w, 2)));
        int fd = receive_ready(w, 0);
        answer(fd, "MAIL", "451 4.6.0 milter is down\r\n");
        leave(fd);
        if (neighbour == HANGS_UP)
            close(receive(w, 1));
        struct spooler_result *r = told_result(w);
        for (size_t i = 0; i < 2; i++) {
            assert_int_equal(r->verdicts[i].kind, VERDICT_DEFERRED);
            assert_int_equal(r->verdicts[i].code, 451);
            assert_int_equal(r->verdicts[i].scope, SCOPE_MESSAGE);
        }
        assert_true(r->attempted);
        assert_string_equal(buf_str(&r->attempt.mx_host), "h0.test");
        assert_string_equal(buf_str(&r->attempt.mx_ip), "127.0.0.1");
        spooler_result_free(r);
        told_gone(w);
        world_free(w);
    }
}

/* Another address of the same host is no other host. */
static void the_same_host_is_not_asked_twice(void **state)
{
    (void)state;
    struct world *w = world_new(2, "");
    struct plan *p = plan_of(w, 1);
    p->hosts[0].n = 2;
    p->hosts[0].addrs[1] = p->hosts[0].addrs[0];
    ((struct sockaddr_in *)&p->hosts[0].addrs[1])->sin_addr.s_addr = htonl(0x7f000002);
    order(w, opening(second_attempt(1), p));
    int fd = later_at(w, 0, PHASE_RCPT, "450 4.2.0 later\r\n");
    struct spooler_result *r = told_result(w);
    assert_string_equal(buf_str(&r->attempt.mx_ip), "127.0.0.1");
    assert_int_equal(r->verdicts[0].code, 450);
    spooler_result_free(r);
    close(fd);
    told_gone(w);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_host_is_asked),
        cmocka_unit_test(it_stands),
        cmocka_unit_test(not_everybody_is_asked),
        cmocka_unit_test(who_spoke_of_the_mail_counts),
        cmocka_unit_test(the_same_host_is_not_asked_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
