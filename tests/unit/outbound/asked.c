/* What a message asks for decides which host may have it (checklist 68, 73, 74, 90). If this
 * breaks, mail is bounced though another host takes it, or a secret goes where it must not. */
#include "tests/unit/outbound/world.h"

#define BODY "Subject: x\r\n\r\nhello\r\n"
#define UTF8 "\xc3\xa4"

static struct out_work *internationalized(uint64_t id, unsigned n)
{
    struct out_work *k = work(id, BODY, n);
    k->params.smtputf8 = true;
    buf_done(&k->addresses[0]);
    k->addresses[0] = buf_of(SLICE_LIT(UTF8 "@d.test"));
    return k;
}

static void expect_failed(struct world *w, enum fault f, enum verdict_kind kind)
{
    struct spooler_result *r = told_result(w);
    assert_int_equal(r->verdicts[0].fault, f);
    assert_int_equal(r->verdicts[0].kind, kind);
    bool ready = r->ready;
    spooler_result_free(r);
    if (ready)
        order_close(w);
}

static void take_content(int fd)
{
    answer(fd, "DATA\r\n", "354 go\r\n");
    hear_content(fd);
    say(fd, "250 ok\r\n");
}

static void delivered(struct world *w, int fd)
{
    struct spooler_result *r = told_result(w);
    assert_int_equal(r->verdicts[0].kind, VERDICT_DELIVERED);
    spooler_result_free(r);
    close(fd);
}

/* 73: the second host takes what the first cannot. */
static void another_host_has_it(void **state)
{
    (void)state;
    struct world *w = world_new(2, "");
    order(w, opening(internationalized(1, 1), plan_of(w, 2)));
    leave(receive_offering(w, 0, "250 8BITMIME\r\n"));
    int fd = receive_offering(w, 1, "250 SMTPUTF8\r\n");
    answer(fd, "MAIL FROM:<s@relay.test> SMTPUTF8\r\n", "250 ok\r\n");
    answer(fd, "RCPT TO:<" UTF8 "@d.test>\r\n", "250 ok\r\n");
    take_content(fd);
    struct spooler_result *r = told_result(w);
    assert_int_equal(r->verdicts[0].kind, VERDICT_DELIVERED);
    assert_false(r->dsn_passed_on);
    spooler_result_free(r);
    close(fd);
    told_gone(w);
    world_free(w);
}

/* 73: of three, one does not answer, and two lack it: the first may have it, whoever was asked last
 * and whoever before. */
static void one_of_three_may_have_it(void **state)
{
    (void)state;
    for (unsigned dead = 0; dead < 3; dead++) {
        int fd = -1;
        struct world *w = world_new(3, "");
        order(w, opening(internationalized(1, 1), plan_of(w, 3)));
        for (unsigned i = 0; i < 3; i++) {
            if (i == dead)
                close(receive(w, i));
            else if (i < 2)
                leave(receive_offering(w, i, "250 8BITMIME\r\n"));
            else
                fd = receive_offering(w, i, "250 8BITMIME\r\n");
        }
        struct spooler_result *r = told_result(w);
        assert_int_equal(r->verdicts[0].kind, VERDICT_DEFERRED);
        const bool ready = r->ready;
        spooler_result_free(r);
        if (ready)
            order_close(w);
        if (fd >= 0)
            close(fd);
        told_gone(w);
        world_free(w);
    }
}

/* 73: final only when all were asked, and none of them may have it after all. */
static void no_host_has_it(void **state)
{
    (void)state;
    struct world *w = world_new(2, "");
    order(w, opening(internationalized(1, 1), plan_of(w, 2)));
    leave(receive_offering(w, 0, "250 8BITMIME\r\n"));
    int fd = receive_offering(w, 1, "250 8BITMIME\r\n");
    expect_failed(w, FAULT_SMTPUTF8, VERDICT_FAILED);
    close(fd);
    told_gone(w);
    for (unsigned dead = 0; dead < 2; dead++) { /* 36: one host that does not answer is hope */
        order(w, opening(internationalized(2, 1), plan_of(w, 2)));
        for (unsigned i = 0; i < 2; i++) {
            if (i == dead)
                close(receive(w, i));
            else if (i == 0)
                leave(receive_offering(w, i, "250 8BITMIME\r\n"));
            else
                fd = receive_offering(w, i, "250 8BITMIME\r\n");
        }
        if (dead == 1) {
            expect_failed(w, FAULT_CONN_LOST, VERDICT_DEFERRED);
        } else {
            /* The last host answered for good, the first may do better. */
            struct spooler_result *r = told_result(w);
            assert_int_equal(r->verdicts[0].kind, VERDICT_DEFERRED);
            bool ready = r->ready;
            spooler_result_free(r);
            if (ready)
                order_close(w);
            close(fd);
        }
        told_gone(w);
    }
    world_free(w);
}

/* One recipient can go and one cannot: the latter is asked for again, at the next host. */
static void some_can_go(void **state)
{
    (void)state;
    struct world *w = world_new(2, "");
    for (unsigned hosts = 1; hosts <= 2; hosts++) {
        order(w, opening(internationalized(hosts, 2), plan_of(w, hosts)));
        int fd = receive_offering(w, 0, "250 DSN\r\n");
        answer(fd, "MAIL FROM:<s@relay.test>\r\n", "250 ok\r\n");
        answer(fd, "RCPT TO:<r1@d.test>\r\n", "250 ok\r\n");
        take_content(fd);
        struct spooler_result *r = told_result(w);
        assert_int_equal(r->verdicts[1].kind, VERDICT_DELIVERED);
        assert_int_equal(r->verdicts[0].fault, FAULT_SMTPUTF8);
        assert_int_equal(r->verdicts[0].kind, hosts == 1 ? VERDICT_FAILED : VERDICT_DEFERRED);
        assert_int_equal(r->verdicts[0].enhanced.class, hosts == 1 ? 5 : 4);
        assert_true(r->dsn_passed_on);
        spooler_result_free(r);
        close(fd);
        told_gone(w);
    }
    world_free(w);
}

/* 68: a connection kept from before is for what suits it. */
static void kept_and_not_suited(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct world *w = world_new(1, "");
        struct out_work *first = work(1, BODY, 1), *next = work(2, BODY, 1);
        order(w, opening(first, plan_of(w, 1)));
        int fd = receive_ready(w, 0);
        take_message(fd, "250 ok\r\n");
        struct spooler_result *r = told_result(w);
        assert_true(r->ready);
        spooler_result_free(r);
        if (i == 0) {
            spooler_order_free(&next->msg);
            next = internationalized(2, 1);
        } else {
            next->params.requiretls = true;
        }
        order(w, next);
        leave(fd);
        r = told_result(w);
        assert_false(r->attempted);
        assert_int_equal(r->message_id, 2);
        spooler_result_free(r);
        told_gone(w);
        nobody_calls(w, 0);
        world_free(w);
    }
}

/* 90: asked everywhere, told 5.7.30 at last; not a word of the mail is said. */
static void requiretls_without_tls(void **state)
{
    (void)state;
    struct world *w = world_new(2, "");
    struct out_work *k = work(1, BODY, 1);
    k->params.requiretls = true;
    order(w, opening(k, plan_of(w, 2)));
    for (unsigned i = 0; i < 2; i++)
        leave(receive_offering(w, i, "250 REQUIRETLS\r\n"));
    struct spooler_result *r = told_result(w);
    assert_int_equal(r->verdicts[0].fault, FAULT_REQUIRETLS);
    assert_int_equal(r->verdicts[0].kind, VERDICT_FAILED);
    assert_string_equal(r->attempt.tls_policy, "verify");
    assert_false(r->attempt.tls_verified);
    spooler_result_free(r);
    told_gone(w);
    world_free(w);
}

/* 84: for a destination that wants a certificate, no TLS is a fault that may pass. */
static void verify_without_tls(void **state)
{
    (void)state;
    struct world *w = world_new(1, "tls = verify");
    struct out_work *k = work(1, BODY, 1);
    k->attempt = 2;
    order(w, opening(k, plan_of(w, 1)));
    leave(receive_offering(w, 0, "250 8BITMIME\r\n"));
    expect_failed(w, FAULT_TLS_UNAVAILABLE, VERDICT_DEFERRED);
    told_gone(w);
    world_free(w);
}

/* TLS-Required: No. A failed handshake is no reason to wait, where the policy leaves the choice. */
static void tls_is_optional(void **state)
{
    (void)state;
    static const char *const options[] = {"", "tls = encrypt", "tls = verify"};
    for (unsigned i = 0; i < 3; i++) {
        struct world *w = world_new(1, options[i]);
        struct out_work *k = work(1, BODY, 1);
        k->params.tls_optional = true;
        order(w, opening(k, plan_of(w, 1)));
        int fd = receive_offering(w, 0, "250 STARTTLS\r\n");
        answer(fd, "STARTTLS\r\n", "454 4.7.0 not now\r\n");
        leave(fd);
        if (i == 0) {
            fd = receive_ready(w, 0);
            take_message(fd, "250 ok\r\n");
            delivered(w, fd);
        } else {
            expect_failed(w, FAULT_TLS_HANDSHAKE, VERDICT_DEFERRED);
        }
        told_gone(w);
        world_free(w);
    }
}

/* 84, 90: what one message is content with (in clear, after a failed handshake) is no other's wish:
 * a connection kept from it takes only mail that may go in clear itself. */
static void kept_in_clear(void **state)
{
    (void)state;
    for (uint32_t attempt = 1; attempt < 3; attempt++) {
        struct world *w = world_new(1, "");
        struct out_work *k = work(1, BODY, 1);
        k->params.tls_optional = true;
        order(w, opening(k, plan_of(w, 1)));
        int fd = receive_offering(w, 0, "250 STARTTLS\r\n");
        answer(fd, "STARTTLS\r\n", "454 4.7.0 not now\r\n");
        leave(fd);
        fd = receive_ready(w, 0);
        take_message(fd, "250 ok\r\n");
        spooler_result_free(told_result(w));
        k = work(2, BODY, 1);
        k->attempt = attempt;
        order(w, k);
        if (attempt == 1)
            leave(fd);
        else
            take_message(fd, "250 ok\r\n");
        struct spooler_result *r = told_result(w);
        assert_int_equal(r->message_id, 2);
        assert_int_equal(r->attempted, attempt == 2);
        spooler_result_free(r);
        if (attempt == 2)
            close(fd);
        told_gone(w);
        world_free(w);
    }
}

static void give(struct world *w, struct spooler_read *r, const char *text)
{
    r->body = body_new(strlen(text));
    memcpy(r->body->bytes, text, strlen(text));
    port_send(outbound_port(w->out), &r->msg);
}

/* Whether a header section in a file needs SMTPUTF8 is looked up before MAIL. */
static void header_in_a_file(void **state)
{
    (void)state;
    static const char *const texts[] = {"Subject: " UTF8 "\r\n\r\nx\r\n",
                                        "Subject: x\r\n\r\n" UTF8 "\r\n"};
    for (unsigned i = 0; i < 2; i++) {
        struct world *w = world_new(1, "");
        struct out_work *k = work(1, NULL, 1);
        k->size = strlen(texts[i]);
        k->eight_bit = k->params.smtputf8 = true;
        order(w, opening(k, plan_of(w, 1)));
        int fd = receive_offering(w, 0, "250 SMTPUTF8\r\n");
        struct spooler_read *r = told(w, SPOOLER_READ);
        assert_int_equal(r->offset, 0);
        give(w, r, texts[i]);
        answer(fd,
               i == 0 ? "MAIL FROM:<s@relay.test> BODY=8BITMIME SMTPUTF8\r\n"
                      : "MAIL FROM:<s@relay.test> BODY=8BITMIME\r\n",
               "250 ok\r\n");
        answer(fd, "RCPT", "250 ok\r\n");
        answer(fd, "DATA\r\n", "354 go\r\n");
        r = told(w, SPOOLER_READ);
        assert_int_equal(r->offset, 0);
        give(w, r, texts[i]);
        assert_int_equal(hear_content(fd), strlen(texts[i]));
        say(fd, "250 ok\r\n");
        delivered(w, fd);
        told_gone(w);
        world_free(w);
    }
}

/* The first host leaves while its second piece is being read; that piece comes while the next host
 * is being asked. The next host must get all of it, from the start. */
static void a_piece_for_the_host_before(void **state)
{
    (void)state;
    static const char first[] = "Subject: x\r\n\r\nfirst\r\n", second[] = "second\r\n";
    struct world *w = world_new(2, "");
    struct out_work *k = work(1, NULL, 1);
    k->size = strlen(first) + strlen(second);
    order(w, opening(k, plan_of(w, 2)));
    int fd = receive_offering(w, 0, "250 8BITMIME\r\n");
    answer(fd, "MAIL", "250 ok\r\n");
    answer(fd, "RCPT", "250 ok\r\n");
    answer(fd, "DATA\r\n", "354 go\r\n");
    give(w, told(w, SPOOLER_READ), first);
    hear(fd, "Subject: x\r\n");
    struct spooler_read *late = told(w, SPOOLER_READ);
    assert_int_equal(late->offset, strlen(first));
    hang_up(fd, false);
    fd = receive_offering(w, 1, "250 8BITMIME\r\n");
    hear(fd, "MAIL");
    give(w, late, second);
    told_nothing(w);
    say(fd, "250 ok\r\n");
    answer(fd, "RCPT", "250 ok\r\n");
    answer(fd, "DATA\r\n", "354 go\r\n");
    struct spooler_read *r = told(w, SPOOLER_READ);
    assert_int_equal(r->offset, 0);
    give(w, r, first);
    give(w, told(w, SPOOLER_READ), second);
    assert_int_equal(hear_content(fd), strlen(first) + strlen(second));
    say(fd, "250 ok\r\n");
    delivered(w, fd);
    told_gone(w);
    world_free(w);
}

static void expect_chunk(int fd, const char *command, size_t octets)
{
    char byte;
    hear(fd, command);
    for (; octets > 0; octets--)
        assert_int_equal(recv(fd, &byte, 1, 0), 1);
}

/* A chunk is refused while the next piece is being read, and the connection goes on: the message
 * behind it gets its own content, whenever the piece comes that nobody wants any more. */
static void a_piece_for_the_job_before(void **state)
{
    (void)state;
    static const char first[] = "Subject: x\r\n\r\nfirst\r\n", second[] = "second\r\n",
                      other[] = "Subject: other\r\n\r\nx\r\n";
    for (unsigned early = 0; early < 2; early++) {
        struct world *w = world_new(1, "");
        struct out_work *k = work(1, NULL, 1);
        k->size = strlen(first) + strlen(second);
        k->params.body = MAIL_BODY_BINARYMIME;
        order(w, opening(k, plan_of(w, 1)));
        int fd = receive_offering(w, 0, "250-PIPELINING\r\n250-CHUNKING\r\n250 BINARYMIME\r\n");
        answer(fd, "MAIL", "250 ok\r\n");
        answer(fd, "RCPT", "250 ok\r\n");
        give(w, told(w, SPOOLER_READ), first);
        expect_chunk(fd, "BDAT 21\r\n", strlen(first));
        struct spooler_read *late = told(w, SPOOLER_READ);
        assert_int_equal(late->offset, strlen(first));
        say(fd, "552 5.3.4 enough\r\n");
        struct spooler_result *r = told_result(w);
        assert_int_equal(r->verdicts[0].code, 552);
        assert_true(r->ready);
        spooler_result_free(r);
        if (early)
            give(w, late, second);
        k = work(2, NULL, 1);
        k->size = strlen(other);
        order(w, k);
        answer(fd, "RSET\r\n", "250 ok\r\n");
        answer(fd, "MAIL", "250 ok\r\n");
        answer(fd, "RCPT", "250 ok\r\n");
        struct spooler_read *own = told(w, SPOOLER_READ);
        assert_int_equal(own->id, 2);
        assert_int_equal(own->offset, 0);
        if (!early)
            give(w, late, second);
        give(w, own, other);
        expect_chunk(fd, "BDAT 21 LAST\r\n", strlen(other));
        say(fd, "250 ok\r\n");
        delivered(w, fd);
        told_gone(w);
        world_free(w);
    }
}

/* What travels: recipients' wishes stay with their recipients, also in a second transaction. */
static void wishes_travel(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    struct out_work *k = work(1, BODY, 2);
    k->orcpts = must_alloc(2 * sizeof *k->orcpts);
    k->notify = must_alloc(2 * sizeof *k->notify);
    k->orcpts[1] = buf_of(SLICE_LIT("rfc822;o@d.test"));
    k->notify[0] = MAIL_NOTIFY_NEVER;
    k->envid = buf_of(SLICE_LIT("id"));
    k->params.ret = MAIL_RET_HDRS;
    k->params.by = MAIL_BY_NOTIFY;
    k->by_deadline = wall_add_s(wall_now(), 1000);
    order(w, opening(k, plan_of(w, 1)));
    int fd = receive_offering(w, 0, "250-DSN\r\n250-DELIVERBY\r\n250 LIMITS RCPTMAX=1\r\n");
    for (unsigned i = 0; i < 2; i++) {
        char line[1100];
        uint64_t seconds = 0;
        hear_line(fd, line);
        struct slice rest = slice_str(line), by = SLICE_LIT("MAIL FROM:<s@relay.test> RET=HDRS "
                                                            "ENVID=id BY=");
        assert_true(slice_starts(rest, by));
        rest = slice_skip(rest, by.n);
        assert_true(slice_u64(slice_cut(&rest, ';'), 1000, &seconds));
        assert_true(slice_eq(rest, SLICE_LIT("N\r\n")));
        assert_in_range(seconds, 980, 1000);
        say(fd, "250 ok\r\n");
        answer(fd,
               i == 0 ? "RCPT TO:<r0@d.test> NOTIFY=NEVER\r\n"
                      : "RCPT TO:<r1@d.test> ORCPT=rfc822;o@d.test\r\n",
               "250 ok\r\n");
        take_content(fd);
    }
    struct spooler_result *r = told_result(w);
    assert_true(r->dsn_passed_on);
    spooler_result_free(r);
    close(fd);
    told_gone(w);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_host_has_it),
        cmocka_unit_test(one_of_three_may_have_it),
        cmocka_unit_test(no_host_has_it),
        cmocka_unit_test(some_can_go),
        cmocka_unit_test(kept_and_not_suited),
        cmocka_unit_test(requiretls_without_tls),
        cmocka_unit_test(verify_without_tls),
        cmocka_unit_test(tls_is_optional),
        cmocka_unit_test(kept_in_clear),
        cmocka_unit_test(header_in_a_file),
        cmocka_unit_test(a_piece_for_the_host_before),
        cmocka_unit_test(a_piece_for_the_job_before),
        cmocka_unit_test(wishes_travel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
