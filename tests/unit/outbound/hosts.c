/* Several hosts: which failure moves on to the next one (checklist 58, 59), and which does not. */
#include "tests/unit/outbound/world.h"

#define BODY "Subject: x\r\n\r\nhello\r\n"

static void expect_delivered_by(struct world *w, const char *host, const char *ip)
{
    struct spooler_result *r = told_result(w);
    assert_int_equal(r->verdicts[0].kind, VERDICT_DELIVERED);
    assert_false(r->attempt.reused);
    assert_string_equal(buf_str(&r->attempt.mx_host), host);
    assert_string_equal(buf_str(&r->attempt.mx_ip), ip);
    spooler_result_free(r);
}

/* What the first host says, a line heard before each but the first; content where it says 354. */
static const struct {
    const char *says[6];
    bool goes_on;
    enum verdict_kind kind; /* where it does not */
} firsts[] = {
    {{NULL}, true, 0},
    {{"421 no\r\n"}, true, 0},
    {{"554 no\r\n", ""}, true, 0},
    {{"220 hi\r\n", "421 no\r\n"}, true, 0},
    {{"220 hi\r\n", "250 x\r\n"}, true, 0}, /* lost at MAIL: nothing can have arrived */
    {{"220 hi\r\n", "250 x\r\n", "421 4.3.2 down\r\n"}, true, 0},
    {{"220 hi\r\n", "250 x\r\n", "452 4.3.1 full\r\n", "221 bye\r\n"}, true, 0},
    {{"220 hi\r\n", "250 x\r\n", "250 ok\r\n"}, true, 0},
    {{"220 hi\r\n", "250 x\r\n", "250 ok\r\n", "250 ok\r\n", "451 4.3.0 no\r\n", ""}, true, 0},
    /* A word about the mail, the sender or the recipient stands for all hosts. */
    {{"220 hi\r\n", "250 x\r\n", "550 5.7.1 no\r\n"}, false, VERDICT_FAILED},
    {{"220 hi\r\n", "250 x\r\n", "450 4.7.1 greylisted\r\n"}, false, VERDICT_DEFERRED},
    {{"220 hi\r\n", "250 x\r\n", "421 4.7.0 too fast\r\n"}, false, VERDICT_DEFERRED},
    {{"220 hi\r\n", "250 x\r\n", "250 ok\r\n", "450 4.2.0 later\r\n"}, false, VERDICT_DEFERRED},
    {{"220 hi\r\n", "250 x\r\n", "250 ok\r\n", "550 5.1.1 who\r\n"}, false, VERDICT_FAILED},
    /* Perhaps it has the message: it is not given to another at once. */
    {{"220 hi\r\n", "250 x\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n"},
     false,
     VERDICT_DEFERRED},
};

static void play(int fd, const char *const *says)
{
    char heard[1100];
    for (unsigned i = 0; i < 6 && says[i]; i++) {
        if (i > 0)
            hear_line(fd, heard);
        say(fd, says[i]);
        if (strncmp(says[i], "354", 3) == 0)
            hear_content(fd);
    }
    close(fd);
}

static void the_next_host_is_asked_at_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++) {
        struct world *w = world_new(2, "");
        order(w, opening(work(1, BODY, 1), plan_of(w, 2)));
        play(receive(w, 0), firsts[i].says);
        if (firsts[i].goes_on) {
            int fd = receive_ready(w, 1);
            take_message(fd, "250 ok\r\n");
            expect_delivered_by(w, "h1.test", "127.0.0.2");
            close(fd);
        } else {
            nobody_calls(w, 1);
            struct spooler_result *r = told_result(w);
            assert_int_equal(r->verdicts[0].kind, firsts[i].kind);
            assert_string_equal(buf_str(&r->attempt.mx_host), "h0.test");
            bool ready = r->ready;
            spooler_result_free(r);
            if (ready)
                order_close(w);
        }
        told_gone(w);
        told_nothing(w);
        world_free(w);
    }
}

/* A second destination, since one with relays has no port of its own. */
#define TWO_RELAYS                                                                                 \
    "} destination \"e\" { domains = { \"e.test\" } relay = { \"h0.test:25\", \"h1.test:25\" }"

static void order_by_relays(struct world *w, uint64_t message)
{
    struct out_work *k = opening(work(message, BODY, 1), plan_of(w, 2));
    buf_done(&k->destination);
    k->destination = buf_of(SLICE_LIT("e"));
    order(w, k);
}

/* Of providers each has limits of its own: one that has had enough keeps mail waiting though
 * another would take it. */
static void the_next_provider_is_asked_at_once(void **state)
{
    static const struct {
        const char *says[6];
        bool goes_on;
    } says[] = {
        {{"220 hi\r\n", "250 x\r\n", "421 4.7.0 too fast\r\n"}, true},
        {{"220 hi\r\n", "250 x\r\n", "450 4.7.1 quota of today\r\n", ""}, true},
        {{"220 hi\r\n", "250 x\r\n", "250 ok\r\n", "421 4.7.0 too fast\r\n"}, true},
        {{"220 hi\r\n", "250 x\r\n", "250 ok\r\n", "250 ok\r\n", "454 4.7.0 Throttling\r\n", ""},
         true},
        {{"220 hi\r\n", "250 x\r\n", "250 ok\r\n", "450 4.2.0 later\r\n"}, false},
        {{"220 hi\r\n", "250 x\r\n", "550 5.7.1 no\r\n"}, false},
        {{"220 hi\r\n", "250 x\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n"}, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof says / sizeof *says; i++) {
        struct world *w = world_new(2, TWO_RELAYS);
        order_by_relays(w, 1);
        play(receive(w, 0), says[i].says);
        if (says[i].goes_on) {
            int fd = receive_ready(w, 1);
            take_message(fd, "250 ok\r\n");
            expect_delivered_by(w, "h1.test", "127.0.0.2");
            close(fd);
        } else {
            nobody_calls(w, 1);
            struct spooler_result *r = told_result(w);
            assert_string_equal(buf_str(&r->attempt.mx_host), "h0.test");
            bool ready = r->ready;
            spooler_result_free(r);
            if (ready)
                order_close(w);
        }
        told_gone(w);
        told_nothing(w);
        world_free(w);
    }
}

/* The same on a connection that has worked: this mail waits, the next one goes to the other. */
static void a_provider_that_has_had_enough_is_left(void **state)
{
    struct world *w = world_new(2, TWO_RELAYS);
    (void)state;
    order_by_relays(w, 1);
    int fd = receive_ready(w, 0);
    take_message(fd, "250 ok\r\n");
    expect_delivered_by(w, "h0.test", "127.0.0.1");
    order(w, work(2, BODY, 1));
    hear(fd, "MAIL");
    say(fd, "450 4.7.1 too many messages\r\n");
    struct spooler_result *r = told_result(w);
    assert_int_equal(r->verdicts[0].code, 450);
    assert_false(r->ready);
    spooler_result_free(r);
    hear(fd, "QUIT");
    close(fd);
    told_gone(w);
    order_by_relays(w, 3);
    fd = receive_ready(w, 1);
    take_message(fd, "250 ok\r\n");
    expect_delivered_by(w, "h1.test", "127.0.0.2");
    close(fd);
    told_gone(w);
    world_free(w);
}

/* What the last of them did is the verdict, for all recipients; each host is asked once. */
static void all_hosts_fail(void **state)
{
    (void)state;
    struct world *w = world_new(3, "");
    order(w, opening(work(1, BODY, 4), plan_of(w, 3)));
    play(receive(w, 0), (const char *const[6]){"220 hi\r\n", "250 x\r\n"});
    play(receive(w, 1), (const char *const[6]){"554 no\r\n", ""});
    play(receive(w, 2), (const char *const[6]){"421 4.3.2 closing\r\n"});
    struct spooler_result *r = told_result(w);
    assert_int_equal(r->n, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(r->verdicts[i].kind, VERDICT_DEFERRED);
        assert_int_equal(r->verdicts[i].code, 421);
    }
    assert_string_equal(buf_str(&r->attempt.mx_ip), "127.0.0.3");
    spooler_result_free(r);
    told_gone(w);
    told_nothing(w);
    world_free(w);
}

/* Nobody waits for ever: a long list of dead hosts is cut at five tries. */
static void five_tries(void **state)
{
    (void)state;
    struct world *w = world_new(8, "");
    order(w, opening(work(1, BODY, 1), plan_of(w, 8)));
    for (unsigned i = 0; i < 5; i++)
        close(receive(w, i));
    struct spooler_result *r = told_result(w);
    assert_int_equal(r->verdicts[0].fault, FAULT_CONN_LOST);
    spooler_result_free(r);
    told_gone(w);
    nobody_calls(w, 5);
    world_free(w);
}

/* Nobody calls a multicast address: the kernel says that there is no way. */
static void put_out_of_reach(const struct world *w, struct plan_host *h)
{
    struct sockaddr_in *a = (struct sockaddr_in *)&h->addrs[0];
    *a = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(w->port), .sin_addr.s_addr = htonl(0xe0000001)};
}

static void silence_of_a_network_costs_no_try(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    struct plan *p = plan_of(w, 8);
    for (unsigned i = 0; i < 7; i++)
        put_out_of_reach(w, &p->hosts[i]);
    struct sockaddr_in *last = (struct sockaddr_in *)&p->hosts[7].addrs[0];
    last->sin_addr.s_addr = htonl(0x7f000001);
    order(w, opening(work(1, BODY, 1), p));
    int fd = receive_ready(w, 0);
    take_message(fd, "250 ok\r\n");
    expect_delivered_by(w, "h7.test", "127.0.0.1");
    close(fd);
    told_gone(w);
    world_free(w);
}

/* … and says less than what another host has answered. */
static void silence_of_a_network_is_no_reason(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    struct plan *p = plan_of(w, 2);
    put_out_of_reach(w, &p->hosts[1]);
    order(w, opening(work(1, BODY, 1), p));
    int fd = receive(w, 0);
    say(fd, "554 5.7.1 not you\r\n");
    struct spooler_result *r = told_result(w);
    assert_int_equal(r->verdicts[0].code, 554);
    spooler_result_free(r);
    close(fd);
    told_gone(w);
    world_free(w);
}

/* 41: a host that calls itself as we do is we, and the mail is not for those behind us. */
static void nobody_behind_ourselves(void **state)
{
    (void)state;
    struct world *w = world_new(2, "");
    order(w, opening(work(1, BODY, 1), plan_of(w, 2)));
    int fd = receive(w, 0);
    say(fd, "220 hi\r\n");
    hear(fd, "EHLO");
    say(fd, "250-relay.test\r\n250 SIZE\r\n");
    struct spooler_result *r = told_result(w);
    assert_int_equal(r->verdicts[0].fault, FAULT_LOOP);
    spooler_result_free(r);
    close(fd);
    told_gone(w);
    nobody_calls(w, 1);
    world_free(w);
}

/* --- TLS */

/* Up to the broken handshake. */
static void break_tls(struct world *w, unsigned host, bool stop_listening)
{
    int fd = receive(w, host);
    char hello[4096];
    say(fd, "220 hi\r\n");
    hear(fd, "EHLO");
    say(fd, "250-hi\r\n250 STARTTLS\r\n");
    hear(fd, "STARTTLS");
    if (stop_listening) {
        close(w->listening[host]);
        w->listening[host] = -1;
    }
    say(fd, "220 go\r\n");
    assert_true(recv(fd, hello, sizeof hello, 0) > 0);
    close(fd);
}

static void handshake_fails(void **state)
{
    (void)state;
    for (unsigned attempt = 1; attempt <= 2; attempt++) {
        for (unsigned encrypt = 0; encrypt < 2; encrypt++) {
            struct world *w = world_new(1, encrypt ? "tls = encrypt" : "");
            struct out_work *k = work(1, BODY, 1);
            k->attempt = attempt;
            order(w, opening(k, plan_of(w, 1)));
            int fd = receive(w, 0);
            say(fd, "220 hi\r\n");
            hear(fd, "EHLO");
            say(fd, "250-hi\r\n250 STARTTLS\r\n");
            hear(fd, "STARTTLS");
            say(fd, "454 4.7.0 not now\r\n");
            hear(fd, "QUIT");
            close(fd);
            if (attempt == 2 && !encrypt) { /* checklist 83 */
                fd = receive(w, 0);
                say(fd, "220 hi\r\n");
                hear(fd, "EHLO");
                say(fd, "250-hi\r\n250 STARTTLS\r\n");
                take_message(fd, "250 ok\r\n");
                struct spooler_result *r = told_result(w);
                assert_int_equal(r->verdicts[0].kind, VERDICT_DELIVERED);
                assert_string_equal(r->attempt.tls_policy, "none");
                spooler_result_free(r);
                close(fd);
            } else {
                struct spooler_result *r = told_result(w);
                assert_int_equal(r->verdicts[0].fault, FAULT_TLS_HANDSHAKE);
                spooler_result_free(r);
                nobody_calls(w, 0);
            }
            told_gone(w);
            world_free(w);
        }
    }
}

/* 83: what else fails before the first transaction is no reason to go without TLS. */
static void nothing_else_goes_in_clear(void **state)
{
    (void)state;
    for (unsigned implicit = 0; implicit < 2; implicit++) {
        struct world *w = world_new(1, implicit ? "implicit-tls = always" : "");
        struct out_work *k = work(1, BODY, 1);
        char hello[4096];
        k->attempt = 2;
        order(w, opening(k, plan_of(w, 1)));
        int fd = receive(w, 0);
        if (implicit) /* there is nothing in clear at such a port */
            assert_true(recv(fd, hello, sizeof hello, 0) > 0);
        else
            say(fd, "421 4.3.2 busy\r\n");
        close(fd);
        struct spooler_result *r = told_result(w);
        assert_int_equal(r->verdicts[0].kind, VERDICT_DEFERRED);
        assert_int_equal(r->verdicts[0].fault, implicit ? FAULT_TLS_HANDSHAKE : FAULT_NONE);
        spooler_result_free(r);
        told_gone(w);
        nobody_calls(w, 0);
        world_free(w);
    }
}

/* "In clear" is meant for the address whose handshake failed, not for those after it. */
static void the_next_host_is_asked_for_tls_again(void **state)
{
    (void)state;
    struct world *w = world_new(2, "");
    struct out_work *k = work(1, BODY, 1);
    k->attempt = 2;
    order(w, opening(k, plan_of(w, 2)));
    break_tls(w, 0, true);
    break_tls(w, 1, false);
    int fd = receive(w, 1); /* and here, too, the second time in clear */
    say(fd, "220 hi\r\n");
    hear(fd, "EHLO");
    say(fd, "250 hi\r\n");
    take_message(fd, "250 ok\r\n");
    expect_delivered_by(w, "h1.test", "127.0.0.2");
    close(fd);
    told_gone(w);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_host_is_asked_at_once),
        cmocka_unit_test(the_next_provider_is_asked_at_once),
        cmocka_unit_test(a_provider_that_has_had_enough_is_left),
        cmocka_unit_test(all_hosts_fail),
        cmocka_unit_test(five_tries),
        cmocka_unit_test(silence_of_a_network_costs_no_try),
        cmocka_unit_test(silence_of_a_network_is_no_reason),
        cmocka_unit_test(nobody_behind_ourselves),
        cmocka_unit_test(handshake_fails),
        cmocka_unit_test(nothing_else_goes_in_clear),
        cmocka_unit_test(the_next_host_is_asked_for_tls_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
