/* The envelope on disk: a recipient lost or a sender changed between 250 and delivery would go
 * unnoticed by everybody. */
#include "queue/envelope.h"
#include "relay/base/bytes.h"
#include "relay/base/must.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_same(const struct envelope *a, const struct envelope *b)
{
    assert_true(slice_eq(a->sender, b->sender));
    assert_true(slice_eq(a->user, b->user));
    assert_true(slice_eq(a->client_ip, b->client_ip));
    assert_true(slice_eq(a->client_helo, b->client_helo));
    assert_true(slice_eq(a->listener, b->listener));
    assert_true(slice_eq(a->session_id, b->session_id));
    assert_true(slice_eq(a->auth_mech, b->auth_mech));
    assert_true(slice_eq(a->message_id, b->message_id));
    assert_true(slice_eq(a->envid, b->envid));
    assert_true(a->size == b->size && a->eight_bit == b->eight_bit);
    assert_true(a->dsn_for == b->dsn_for && a->dsn_delay == b->dsn_delay);
    assert_true(a->expires_s == b->expires_s && a->dsn_rcpt == b->dsn_rcpt);
    assert_true(slice_eq(a->tags, b->tags) && slice_eq(a->route, b->route));
    assert_true(a->release.us == b->release.us && a->by_deadline.us == b->by_deadline.us);
    const struct mail_params *p = &a->params, *q = &b->params;
    assert_true(p->body == q->body && p->ret == q->ret && p->by == q->by);
    assert_true(p->by_trace == q->by_trace && p->smtputf8 == q->smtputf8);
    assert_true(p->requiretls == q->requiretls && p->tls_optional == q->tls_optional);
    assert_int_equal(p->priority, q->priority);
    assert_int_equal(a->n_rcpts, b->n_rcpts);
    for (size_t i = 0; i < a->n_rcpts; i++) {
        assert_true(slice_eq(a->rcpts[i].address, b->rcpts[i].address));
        assert_true(slice_eq(a->rcpts[i].orcpt, b->rcpts[i].orcpt));
        assert_int_equal(a->rcpts[i].notify, b->rcpts[i].notify);
    }
}

static const struct envelope_rcpt two[] = {
    {{(const uint8_t *)"a@x", 3},
     {(const uint8_t *)"rfc822;b@y", 10},
     MAIL_NOTIFY_SUCCESS | MAIL_NOTIFY_DELAY},
    {{(const uint8_t *)"\"\\\"\0\"@[1.2.3.4]", 16}, {NULL, 0}, MAIL_NOTIFY_NEVER},
};

static struct envelope full(void)
{
    return (struct envelope){.sender = SLICE_LIT("s@x"),
                             .user = SLICE_LIT("u"),
                             .client_ip = SLICE_LIT("2001:db8::1"),
                             .client_helo = SLICE_LIT("helo\xff"),
                             .listener = SLICE_LIT("submission"),
                             .session_id = SLICE_LIT("S1"),
                             .auth_mech = SLICE_LIT("PLAIN"),
                             .message_id = SLICE_LIT("<a@b>"),
                             .envid = SLICE_LIT("env+id"),
                             .tags = SLICE_LIT("campaign=a\nmailing=7"),
                             .route = SLICE_LIT("smarthost"),
                             .params = {.body = MAIL_BODY_BINARYMIME,
                                        .ret = MAIL_RET_HDRS,
                                        .by = MAIL_BY_NOTIFY,
                                        .by_trace = true,
                                        .smtputf8 = true,
                                        .requiretls = true,
                                        .tls_optional = true,
                                        .priority = -9},
                             .release = {1700000000000000},
                             .by_deadline = {INT64_MAX},
                             .size = UINT64_MAX,
                             .eight_bit = true,
                             .dsn_for = 1,
                             .dsn_delay = true,
                             .dsn_rcpt = 65535,
                             .expires_s = 432000,
                             .rcpts = two,
                             .n_rcpts = 2};
}

static void test_round_trip(void **state)
{
    (void)state;
    struct envelope rows[] = {full(), {.rcpts = two, .n_rcpts = 1}};
    for (size_t i = 0; i < 2; i++) {
        struct buf out = BUF_MAX(10000);
        struct envelope back;
        envelope_write(&out, &rows[i]);
        assert_true(envelope_read(buf_slice(&out), &back));
        assert_same(&rows[i], &back);
        envelope_done(&back);
        buf_done(&out);
    }
}

static void test_most_recipients(void **state)
{
    (void)state;
    struct envelope_rcpt *rcpts = must_alloc(65536 * sizeof *rcpts);
    for (size_t i = 0; i < 65536; i++)
        rcpts[i].address = SLICE_LIT("someone@example.com");
    struct envelope e = {.rcpts = rcpts, .n_rcpts = 65535}, back;
    struct buf out = BUF_MAX(1 << 24);
    envelope_write(&out, &e);
    assert_true(envelope_read(buf_slice(&out), &back));
    assert_same(&e, &back);
    envelope_done(&back);
    /* One more is not an envelope. */
    struct envelope one = {.rcpts = rcpts, .n_rcpts = 1};
    envelope_write(&out, &one);
    assert_false(envelope_read(buf_slice(&out), &back));
    buf_done(&out);
    free(rcpts);
}

static void test_later_fields_are_passed_over(void **state)
{
    (void)state;
    struct envelope e = full(), back;
    struct buf out = BUF_MAX(10000);
    buf_add_varint(&out, 900);
    buf_add_prefixed(&out, SLICE_LIT("from the future"));
    envelope_write(&out, &e);
    buf_add_varint(&out, 901);
    buf_add_prefixed(&out, SLICE_NONE);
    assert_true(envelope_read(buf_slice(&out), &back));
    assert_same(&e, &back);
    envelope_done(&back);
    buf_done(&out);
}

/* No cut is read past its end, and none is taken for the whole. */
static void test_cut_anywhere(void **state)
{
    (void)state;
    struct envelope e = full(), back = {.size = 77};
    struct buf out = BUF_MAX(10000);
    envelope_write(&out, &e);
    for (size_t n = 0; n < out.n; n++) {
        uint8_t *copy = malloc(n + 1);
        assert_non_null(copy);
        memcpy(copy, out.p, n);
        if (envelope_read(slice_of(copy, n), &back)) {
            assert_int_equal(back.n_rcpts, 1); /* between the two recipients */
            envelope_done(&back);
            back.size = 77;
        } else {
            assert_int_equal(back.size, 77);
        }
        free(copy);
    }
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_most_recipients),
        cmocka_unit_test(test_later_fields_are_passed_over),
        cmocka_unit_test(test_cut_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
